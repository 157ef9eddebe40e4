"""API keys: read from a file that nobody else reads, compared in constant time."""

import hashlib
import hmac
import os
import stat
from collections.abc import Sequence

from jaxcls import files
from jaxcls.errors import UserError
from jaxcls.types import PathLike

LEAST = 16  # characters of a key: shorter ones can be tried out


def read(path: PathLike) -> tuple[bytes, ...]:
    """The SHA-256 of each key of a file: one a line; empty lines and lines that begin with # are passed over.

    Raises:
      UserError: where it can't be read, others than owner and group may read it, or the group may write it; where it
        has no key, or a short one.
    """
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
        if mode & 0o027:
            raise UserError(f"{path}: others can read it, or write it (mode {mode:03o}); chmod 600 {path}")
        lines = files.read_bytes(path, 2**20).decode().splitlines()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8"
        raise UserError(f"the keys in {path} can't be read: {reason}; give a text file, one key a line") from error
    found = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not found:
        raise UserError(f"{path} has no key; put one on each line, as `openssl rand -hex 32` prints it")
    for number, key in enumerate(found, 1):
        if len(key) < LEAST:
            raise UserError(
                f"{path}: key {number} is shorter than {LEAST} characters; take one of `openssl rand -hex 32`"
            )
    return tuple(digest(key.encode()) for key in found)


def digest(key: bytes) -> bytes:
    """What is kept of a key, and compared: all of the same length, whatever the key's."""
    return hashlib.sha256(key).digest()


def known(given: bytes, digests: Sequence[bytes]) -> bool:
    """Whether a key is one of those; the time says neither which nor how much of it is right."""
    asked = digest(given)
    found = False
    for each in digests:
        found |= hmac.compare_digest(asked, each)
    return found


def of_headers(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The key of a request, from `Authorization: Bearer KEY` or `X-API-Key: KEY`; b"" where there is none."""
    for name, value in headers:
        if name == b"x-api-key":
            return value.strip()
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip()
    return b""
