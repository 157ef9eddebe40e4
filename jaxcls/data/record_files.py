"""Writes sets as ArrayRecord of one's own, `records/FOLDER` (data/records)."""

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls import files
from jaxcls.data.base import LEAVES, Source, leaves
from jaxcls.data.records import INFO, LENGTH, VERSION
from jaxcls.errors import UserError
from jaxcls.text import printable
from jaxcls.types import Note

SHARD = 2**28  # bytes of pictures above which another file begins
MOST = 4096  # pictures of a file: the time of a read grows with them (1 ms at 100,000, 25 at a million)
OPTIONS = "group_size:1,uncompressed"  # each picture can be read alone; encoded ones get no smaller
EVERY = 5.0  # seconds between two lines of progress


def write(bases: Mapping[str, Source], folder: Path, note: Note = print) -> None:
    """Writes a set, encoded pictures as they are, into a folder that gets its name once it is whole.

    Args:
      bases: as of `sources.find`.
      folder: which must not be there, or be empty.
      note: where lines go.

    Raises:
      UserError: for a picture that can't be read, a folder that is there, a full disk; nothing is left then.
    """
    shown = printable(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{shown} is there already; name another folder with --out, or remove it.")
    part = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.part")
    try:
        part.mkdir(parents=True)
        first = next(iter(bases.values()))
        further = {name: leaf for name, leaf in leaves(first).items() if name not in LEAVES}
        info = {
            "version": VERSION,
            "classes": list(map(str, first.classes)),
            "leaves": {name: {"shape": leaf.shape, "dtype": leaf.dtype.str} for name, leaf in further.items()},
            "shape": _shape(bases),
            "splits": {split: _split(source, split, part, further, note) for split, source in bases.items()},
        }
        files.write_json(part / INFO, info)
        os.replace(part, folder)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"{shown} can't be written: {reason}; free some space there, or name another folder."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _shape(bases):
    """The one shape of all pictures of sets in memory; None of others."""
    shapes = {source.images.shape[1:] if hasattr(source, "images") else None for source in bases.values()}
    return list(found) if len(shapes) == 1 and (found := shapes.pop()) else None


def _split(source: Source, split: str, folder: Path, further: Mapping[str, Any], note: Note) -> dict[str, Any]:
    """Writes the files of a split. Returns what info.json has of it."""
    ids: list[str] = []
    names: list[str] = []
    writer: Any = None
    room, began, last = 0, time.monotonic(), time.monotonic()
    try:
        for item in _items(source):
            record = _record(item, further)
            if writer is None or room < len(record) or len(ids) % MOST == 0:
                _close(writer)
                names.append(f"{split}-{len(names):05d}.array_record")
                writer, room = _writer(folder / names[-1]), SHARD
            _told(writer.write, record)
            room -= len(record)
            ids.append(str(item["id"]))
            if (now := time.monotonic()) - last > EVERY:
                speed, last = len(ids) / (now - began), now
                note(f"{split}: {len(ids):,} of {len(source):,} pictures, {speed:,.0f}/s")
    finally:
        _close(writer)
    if len(set(ids)) < len(ids):
        note(f"{split}: several pictures have one id, so runs can't tell them apart by it")
    mark = source.fingerprint
    index = {"labels": np.asarray(source.labels), "ids": np.frombuffer(json.dumps(ids).encode(), np.uint8)}
    files.write_arrays(folder / f"{split}-index.npz", mark, **index)
    return {"count": len(ids), "files": names, "fingerprint": mark}


def _items(source: Any) -> Iterator[dict[str, Any]]:
    return source.items() if hasattr(source, "items") else (source[row] for row in range(len(source)))


def _record(item: Mapping[str, Any], further: Mapping[str, Any]) -> bytes:
    """The bytes of a picture's record."""
    image, label = item["image"], item["label"]
    text: dict[str, Any] = {
        "id": str(item["id"]),
        "label": np.flatnonzero(label).tolist() if np.ndim(label) else int(label),
    }
    if isinstance(image, np.ndarray):
        text["shape"], image = image.shape, np.ascontiguousarray(image).tobytes()
    if further:
        text["leaves"] = {name: np.asarray(item[name]).tolist() for name in further}
    if more := {key: _plain(x) for key, x in item.items() if key not in further and key not in ("id", *LEAVES)}:
        text["more"] = more
    head = json.dumps(text).encode()
    return LENGTH.pack(len(head)) + head + bytes(image)


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value


def _writer(path):
    from array_record.python.array_record_module import ArrayRecordWriter

    return _told(ArrayRecordWriter, str(path), OPTIONS)


def _close(writer):
    if writer is not None and writer.is_open():
        _told(writer.close)


def _told(work, *arguments):
    """Calls work; what the library says of a full disk becomes an OSError."""
    try:
        return work(*arguments)
    except (RuntimeError, ValueError) as error:
        raise OSError(" ".join(str(error).partition(";")[0].split())) from error
