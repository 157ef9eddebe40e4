"""Predictions that go on where they were interrupted: whole rows that a file holds are kept, a torn one is cut.

Beside the file lies FILE.resume.json, which says what its rows were made with. Rows are compared with the input, one by
one, as they were written: each picture gets its row once, however often the command is killed.
"""

import contextlib
import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from jaxcls import files
from jaxcls.errors import UserError
from jaxcls.predict.base import BasePredictor
from jaxcls.predict.sharding import Entry
from jaxcls.text import from_cell, printable

FORMS = ("jsonl", "csv")  # whose rows can be read back
REMEDY = "give the same as before, or another --out"


class Kept(NamedTuple):
    """What a file holds already: rows, of which `failed` have an error; the last whole one ends at byte `end`."""

    rows: int = 0
    failed: int = 0
    end: int = 0


def state(out: Path) -> Path:
    """The file that says what the rows of `out` were made with."""
    return out.with_name(f"{out.name}.resume.json")


def made_with(predictor: BasePredictor, **options: Any) -> dict[str, Any]:
    """What rows depend on: the model and its stored decision, and options (as text)."""
    decision = json.dumps(predictor.decision, sort_keys=True, default=str).encode()
    model = {"model": predictor.name, "step": predictor.step, "averaged": predictor.averaged}
    return {**model, "decision": digest([decision]), **{name: str(value) for name, value in options.items()}}


def digest(parts: Iterable[bytes | np.ndarray]) -> str:
    """The beginning of the SHA-256 of bytes or arrays."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes())
    return found.hexdigest()[:16]


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """Makes the file if there is none, and keeps others that resume it out while this lasts.

    Raises:
      UserError: where another process writes it, or it can't be written.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows: nothing keeps two apart there
        yield
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        file = open(out, "ab")  # noqa: SIM115  closed below
    except OSError as error:
        raise UserError(f"--out {out} can't be written: {error.strerror or error}; choose another file.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"--resume: another process writes {out} at this moment; wait for its end.") from error
        except OSError:  # a file system without locks
            pass
        yield


def kept(out: Path, form: str, header: str, made: Mapping[str, Any], entries: Iterator[Entry]) -> Kept:
    """What the file holds of these entries, which are taken from `entries`. Notes what new rows are made with.

    Args:
      out: the file.
      form: "jsonl" or "csv".
      header: what comes before its first row.
      made: of `made_with`.
      entries: the input.

    Raises:
      UserError: where the file was begun with something else, or of other pictures.
    """
    before = files.read_json(state(out), strict=True)
    empty = not out.exists() or not out.stat().st_size
    if before is None:
        if not empty:
            told = f"--resume: {out} was begun without --resume, so what made its rows is not known"
            raise UserError(f"{told}; delete it, or choose another --out.")
        files.write_json(state(out), made)
        return Kept()
    for name in made:
        old = before.get(name) if isinstance(before, dict) else None
        if old != made[name]:
            raise UserError(f"--resume: {out} was begun with {name} {old}, and this is {made[name]}; {REMEDY}.")
    return Kept() if empty else _matched(out, form, header, entries)


def rows(file: BinaryIO, form: str, header: str) -> Iterator[tuple[str, bool, int]]:
    """(path, whether it has an error, byte behind it) of the whole rows of a file.

    Raises:
      ValueError, KeyError, TypeError, IndexError, csv.Error: for what is no row, or another header.
    """
    end, record = 0, b""
    wanted = header.encode()
    for line in file:
        record += line
        if not line.endswith(b"\n") or (form == "csv" and record.count(b'"') % 2):
            continue  # torn, or within quotes
        end += len(record)
        if wanted:
            if record != wanted:
                raise ValueError
            wanted = b""
        else:
            yield *_row(record, form), end
        record = b""


def _row(record, form):
    """(path, whether it has an error) of a row's bytes."""
    text = record.decode(errors="surrogateescape")
    if form == "jsonl":
        found = json.loads(text)
        return found["path"], "error" in found
    (cells,) = csv.reader(io.StringIO(text, newline=""), strict=True)
    return from_cell(cells[0]), bool(cells[-1])


def _matched(out, form, header, entries):
    found = Kept()
    try:
        with files.open_regular(out, None) as file:
            for path, failed, end in rows(file, form, header):
                entry = next(entries, None)
                if entry is None:
                    raise UserError(
                        f"--resume: {out} has more rows than the {found.rows:,} pictures of the input; {REMEDY}."
                    )
                if entry[1] != path:
                    there, here = printable(path), printable(entry[1])
                    what = f"row {found.rows + 1:,} of {out} is of {there}, where the input has {here}"
                    raise UserError(f"--resume: {what}; {REMEDY}.")
                found = Kept(found.rows + 1, found.failed + failed, end)
    except OSError as error:
        raise UserError(f"--out {out} can't be read: {error.strerror or error}; choose another file.") from error
    except (ValueError, KeyError, TypeError, IndexError, csv.Error) as error:
        told = f"--resume: {out} holds what this command would not write, behind {found.rows:,} rows"
        raise UserError(f"{told}; delete it, or choose another --out.") from error
    return found
