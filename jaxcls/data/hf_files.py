"""Columns of Arrow and Parquet files: where encoded pictures lie, and labels as numbers, words or lists.

An Arrow file that `datasets` writes holds its pictures as they are, so they are read where they lie. In a Parquet file
they are packed by groups of hundreds, from which nothing can be taken by itself: they are copied once, one behind the
other, into a file in the user's cache.
"""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from jaxcls import files
from jaxcls.data.hf_columns import Columns
from jaxcls.data.pieces import Pieces, stamp
from jaxcls.errors import UserError
from jaxcls.text import printable
from jaxcls.types import PathLike

INSTALL = "pip install pyarrow, or 'jaxcls[tables]'"
ROWS = 1000  # of a Parquet file at a time
KEPT = ("number", "offset", "size")  # what Pieces are called where they are kept
CONTENT = "write the set anew with its to_parquet(...), which puts them in, or open the pictures as folder/PATH"


class Split(NamedTuple):
    """One split: where its pictures lie (`pieces` of `paths`), a name for each ("" where there is none), and labels:
    an int64 array, or a list of words or lists; None without."""

    paths: list[str]
    pieces: Pieces
    names: list[str]
    values: Any


def package() -> Any:
    """The package. Raises UserError where it is not installed."""
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(f"Arrow and Parquet files need pyarrow, which can't be loaded ({error}): {INSTALL}") from error
    return pyarrow


@contextlib.contextmanager
def reading(path: PathLike) -> Iterator[None]:
    """Whatever goes wrong while a file is read becomes its line."""
    try:
        yield
    except (
        ValueError,
        OSError,
        NotImplementedError,
        KeyError,
    ) as error:  # pyarrow's errors are ValueErrors and OSErrors
        with contextlib.suppress(OSError), open(path, "rb") as file:
            if file.read(20).startswith(b"version https://git-lfs"[:20]):
                raise UserError(
                    f"{printable(path)} is a pointer of Git LFS; get the file with: git lfs pull"
                ) from error
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{printable(path)} is cut or damaged ({reason}); copy it again.") from error


def schema(path: Path) -> Any:
    """pyarrow's schema of an Arrow or Parquet file."""
    pa = package()
    with reading(path):
        if path.suffix == ".parquet":
            return pa.parquet.read_schema(path)
        with pa.memory_map(str(path)) as mapped:
            return _batches(pa, mapped)[0]


def _batches(pa, buffer):
    """(schema, batches) of an Arrow stream, or an Arrow file."""
    head = buffer.read(6)
    buffer.seek(0)
    if head == b"ARROW1":
        opened = pa.ipc.open_file(buffer)
        return opened.schema, (opened.get_batch(i) for i in range(opened.num_record_batches))
    opened = pa.ipc.open_stream(buffer)
    return opened.schema, opened


def arrow(paths: Sequence[Path], columns: Columns) -> Split:
    """The Split of Arrow files. Raises UserError for one that is damaged or compressed, or pictures without content."""
    pa = package()
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    names: list[str] = []
    values: list[Any] = []
    for number, path in enumerate(paths):
        with reading(path), pa.memory_map(str(path)) as mapped:
            whole = mapped.read_buffer()
            for batch in _batches(pa, pa.BufferReader(whole))[1]:
                pictures = batch.column(columns.image)
                offset, size, address, called = _found(pictures, path, len(names))
                offset = offset + (address - whole.address)
                if len(offset) and not (offset[0] >= 0 and offset[-1] + size[-1] <= whole.size):
                    raise UserError(f"{printable(path)} is compressed, so no picture can be read alone; write it anew.")
                parts.append((offset, size, np.full(len(offset), number, np.int32)))
                names += called
                values += [] if columns.label is None else [_values(batch.column(columns.label))]
    offset, size, file = (
        (np.concatenate(x) for x in zip(*parts, strict=True)) if parts else (np.zeros(0, np.int64),) * 3
    )
    return Split([str(path) for path in paths], Pieces(file.astype(np.int32), offset, size), names, _together(values))


def parquet(paths: Sequence[Path], columns: Columns, title: str) -> Split:
    """The Split of Parquet files, whose pictures are copied into the user's cache, unless they are there.

    Raises:
      UserError: for a file that is damaged, pictures without content, or a disk that is full.
    """
    mark = stamp(paths, *map(str, columns[:2]))
    target = files.cache() / "jaxcls" / "hf" / f"{mark}.bin"
    index = target.with_suffix(".npz")
    stored = files.read_arrays(index, mark) if target.is_file() else None
    if stored is None:
        print(f"{title}: its pictures are copied into {target}, once", flush=True)
        with _fresh(target) as file:
            stored = _copied(paths, columns, file)
        files.write_arrays(index, mark, **stored)
    texts = {key: json.loads(stored[key].tobytes()) for key in ("names", "words")}
    values = stored["numbers"] if texts["words"] is None and columns.label is not None else texts["words"]
    return Split([str(target)], Pieces(*(stored[name] for name in KEPT)), texts["names"], values)


def _copied(paths, columns, file: IO[bytes]):
    """Writes the pictures of Parquet files one behind the other. Returns what is kept of them, as arrays."""
    pa = package()
    sizes: list[np.ndarray] = []
    names: list[str] = []
    values: list[Any] = []
    wanted = [name for name in columns[:2] if name is not None]
    for path in paths:
        with reading(path):
            opened = pa.parquet.ParquetFile(path)
            batches = opened.iter_batches(ROWS, columns=wanted)
            while (batch := next(batches, None)) is not None:
                pictures = batch.column(columns.image)
                offset, size, _, called = _found(pictures, path, len(names))
                data = memoryview(_binary(pictures).buffers()[2] or b"")
                with _writing():
                    file.write(data[int(offset[0]) : int(offset[-1] + size[-1])] if len(size) else b"")
                sizes.append(size)
                names += called
                values += [] if columns.label is None else [_values(batch.column(columns.label))]
    size = np.concatenate(sizes) if sizes else np.zeros(0, np.int64)
    together = _together(values)
    numbers = isinstance(together, np.ndarray)
    text = lambda x: np.frombuffer(json.dumps(x).encode(), np.uint8)  # noqa: E731
    return {
        **dict(zip(KEPT, (np.zeros(len(size), np.int32), np.cumsum(size) - size, size), strict=True)),
        "names": text(names),
        "words": text(None if numbers else together),
        "numbers": together if numbers else np.zeros(0, np.int64),
    }


class _Full(Exception):
    """Carries an OSError of writing past what is told of reading."""


@contextlib.contextmanager
def _writing():
    try:
        yield
    except OSError as error:
        raise _Full from error


@contextlib.contextmanager
def _fresh(target: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which gets its name at the end: of two processes that copy at once the later one's stays."""
    part = target.with_name(f"{target.stem}.{uuid.uuid4().hex}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "xb") as file:
            yield file
        os.replace(part, target)
    except (_Full, OSError) as error:
        reason = error.__cause__ if isinstance(error, _Full) else error
        remedy = "free some space there, or set XDG_CACHE_HOME to another folder"
        shown = getattr(reason, "strerror", None) or reason
        raise UserError(f"{printable(target)} can't be written: {shown}; {remedy}.") from error
    finally:
        part.unlink(missing_ok=True)


def _binary(pictures):
    """The array of encoded bytes of a column of pictures."""
    pa = package()
    return pictures.field("bytes") if pa.types.is_struct(pictures.type) else pictures


def _found(pictures, path, before):
    """(offsets int64 [n] in a buffer, sizes, the buffer's address, names) of a column. Raises UserError where a picture
    has no content."""
    pa = package()
    binary = _binary(pictures)
    names = [""] * len(binary)
    if pa.types.is_struct(pictures.type) and pictures.type.get_field_index("path") >= 0:
        names = [name or "" for name in pictures.field("path").to_pylist()]
    if lost := pictures.null_count or binary.null_count:
        row = binary.is_null().to_numpy(zero_copy_only=False).argmax()
        told = f", only their paths, such as {printable(names[row])!r}" if names[row] else ""
        raise UserError(
            f"{printable(path)}: {lost:,} pictures have no content (the first is row {before + row}){told}; {CONTENT}."
        )
    width = np.dtype("<i8" if pa.types.is_large_binary(binary.type) else "<i4")
    _, offsets, data = binary.buffers()
    ends = np.frombuffer(offsets, width)[binary.offset : binary.offset + len(binary) + 1].astype(np.int64)
    return ends[:-1], np.diff(ends), data.address if data is not None else 0, names


def _values(labels):
    """int64 [n] of a column of whole numbers without gaps, else a list."""
    if package().types.is_integer(labels.type) and not labels.null_count:
        return labels.to_numpy(zero_copy_only=False).astype(np.int64)
    return labels.to_pylist()


def _together(parts):
    """Labels of all batches; None without any."""
    if not parts:
        return None
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    return [value for part in parts for value in (part.tolist() if isinstance(part, np.ndarray) else part)]
