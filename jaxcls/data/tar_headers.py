"""The members of a tar file by their headers alone: POSIX (ustar, pax) and GNU, without compression.

The standard library's tarfile makes an object of twenty fields of each, which takes minutes of a million pictures.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

BLOCK = 512
ZERO = bytes(BLOCK)
FILES = (b"0", b"\0", b"7")  # types of regular files
BARE = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folders: no content, whatever their size says
LARGEST = 2**20  # bytes of a name, or of a pax header


class Member(NamedTuple):
    """A regular file in a tar file: its name, the offset of its first byte, and how many it has."""

    name: str
    offset: int
    size: int


def members(descriptor: int) -> Iterator[Member]:
    """The regular files in an open tar file, in its order.

    Raises:
      ValueError: where it is cut (its end is missing, too), damaged, or has a sparse file.
    """
    total, at = os.fstat(descriptor).st_size, 0
    told: dict[str, str] = {}  # of the next member, in place of what its header says
    while (header := os.pread(descriptor, BLOCK, at)) != ZERO:
        if len(header) < BLOCK:
            raise ValueError("its end is missing")
        _check(header)
        kind, size = header[156:157], _number(header[124:136])
        at += BLOCK
        if kind in (b"L", b"x"):
            if size > LARGEST:
                raise ValueError("a damaged header")
            content = os.pread(descriptor, size, at)
            told |= {"path": _text(content)} if kind == b"L" else _pax(content)
        elif kind in FILES or kind in BARE:
            if any(key.startswith("GNU.sparse") for key in told):
                raise ValueError("a sparse file")
            size = int(told.get("size", size)) if kind in FILES else 0
            if at + size > total:
                raise ValueError(f"its last member ends {at + size - total:,} bytes behind it")
            if kind in FILES:
                yield Member(told.get("path") or _name(header), at, size)
            told = {}
        elif kind not in (b"g", b"K"):
            raise ValueError(f"a member of the type {kind!r}")
        at += -(-size // BLOCK) * BLOCK


def _check(header):
    """Raises ValueError where the sum of a header's bytes is not what it says."""
    told = header[148:156].strip(b" \0")
    if not told.isdigit() or sum(header) - sum(header[148:156]) + 8 * ord(" ") != int(told, 8):
        raise ValueError("a damaged header")


def _number(field):
    """An octal number, or, of GNU, a binary one behind a first bit."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:])
    return int(field.partition(b"\0")[0].strip() or b"0", 8)


def _text(field):
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _name(header):
    name = _text(header[:100])
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _pax(content):
    """Key -> value of a pax header: records such as `18 path=a/b/c.jpg`, each with its own length."""
    found, at = {}, 0
    while at < len(content) and content[at]:
        length, _, _ = content[at : at + 20].partition(b" ")
        record = content[at : at + int(length)]
        if not record.endswith(b"\n"):
            raise ValueError("a damaged header")
        key, _, value = record[len(length) + 1 : -1].partition(b"=")
        found[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        at += len(record)
    return found
