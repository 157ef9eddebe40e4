"""`metrics.jsonl` in the workdir: one strict JSON object a line.

    {"step": 500, "split": "train", "epoch": 1.28, "time": 1700000000.0, "loss": 1.93, "accuracy": 0.31}

JSON knows no NaN and no infinity: such a value is written as null, and its name and kind go under "nonfinite"
(`{"loss": null, "nonfinite": {"loss": "nan"}}`). `read_metrics` puts it back.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxcls.errors import UserError

NAME = "metrics.jsonl"


class JsonLines:
    """The writer of `metrics.jsonl`. A line is with the operating system, and complete, when `scalars` returns.

    Args:
      workdir: a folder that exists.
      start_step: the step the run resumes from; later lines of a killed run are dropped. At 0 an older file becomes
        `metrics.previous.jsonl`.

    Raises:
      OSError: from any method, if the file cannot be written.
    """

    essential = True

    def __init__(self, workdir: Path, start_step: int = 0):
        path = workdir / NAME
        self.name = str(path)
        if start_step:
            drop_after(path, start_step)
        elif path.is_file() and path.stat().st_size:
            os.replace(path, path.with_name("metrics.previous.jsonl"))
        # Unbuffered: a line is one write to the system.
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - open as long as this object

    def scalars(self, step: int, split: str, epoch: float, time: float, values: Mapping[str, float]) -> None:
        """Appends a line."""
        line = {"step": step, "split": split, "epoch": round(epoch, 6), "time": round(time, 3)}
        self._file.write(_encode({**line, **values}))

    def close(self, finished: bool = True) -> None:
        """Closes the file."""
        self._file.close()


def read_metrics(workdir: str | os.PathLike) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl` in the order written, non-finite values restored; [] if there is no such file.

    A torn last line, of a run that was killed or is being written now, is left out.

    Raises:
      UserError: if a line before the last is no JSON object, or the file cannot be read.
    """
    path = Path(workdir) / NAME
    lines, bad = _decode_file(path)
    if bad and bad[0] < len(lines) + len(bad):
        raise UserError(f"{path}, line {bad[0]}, is damaged; delete that line")
    return lines


def drop_after(path: Path, step: int) -> None:
    """Rewrites a `metrics.jsonl` without the lines of later steps and without unreadable ones, atomically.

    Raises:
      OSError: if it cannot be written.
    """
    if not path.exists():
        return
    lines, bad = _decode_file(path)
    kept = [line for line in lines if line["step"] <= step]
    if len(kept) == len(lines) and not bad:
        return
    temporary = path.with_suffix(".jsonl.tmp")
    with open(temporary, "wb") as file:
        file.writelines(map(_encode, kept))
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _encode(line: Mapping[str, Any]) -> bytes:
    strange = {k: str(v) for k, v in line.items() if isinstance(v, float) and not math.isfinite(v)}
    if strange:
        line = {**line, **dict.fromkeys(strange), "nonfinite": strange}
    return (json.dumps(line, allow_nan=False) + "\n").encode()


def _decode_file(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """The good lines, and the numbers (from 1) of the bad ones. A last line without its newline is bad."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    lines, bad = [], []
    for number, raw in enumerate(content.splitlines(keepends=True), start=1):
        try:
            line = json.loads(raw)
            if not raw.endswith(b"\n"):
                raise ValueError("torn")
            line.update({name: float(kind) for name, kind in line.pop("nonfinite", {}).items()})
            lines.append(line | {"step": int(line["step"])})
        except (ValueError, TypeError, KeyError, AttributeError):
            bad.append(number)
    return lines, bad
