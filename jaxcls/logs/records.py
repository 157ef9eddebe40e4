"""What a run writes about itself: `metrics.jsonl` and TensorBoard event files in the workdir.

`metrics.jsonl` has one strict JSON object a line:

    {"step": 500, "split": "train", "epoch": 1.28, "time": 1700000000.0, "loss": 1.93, "accuracy": 0.31}

JSON knows no NaN and no infinity: such a value is written as null, and its name and kind go under "nonfinite"
(`{"loss": null, "nonfinite": {"loss": "nan"}}`). `read_metrics` puts it back.
"""

import contextlib
import json
import math
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxcls.errors import UserError

RESERVED = ("step", "split", "epoch", "time", "nonfinite")


class Records:
    """Appends scalars to `metrics.jsonl` and to `events/<split>`; see the module's docstring for the format.

    Args:
      workdir: folder of the run; made if absent.
      steps_per_epoch: to record steps as epochs too.
      start_step: the step the run resumes from. What a killed run wrote after that step is dropped from
        `metrics.jsonl` and hidden in TensorBoard. At 0 an older `metrics.jsonl` becomes `metrics.previous.jsonl`.

    Raises:
      UserError: from any method, if a file cannot be written. It is raised once; from then on nothing is recorded.
    """

    def __init__(self, workdir: str | os.PathLike, *, steps_per_epoch: int, start_step: int = 0):
        self._workdir, self._per_epoch, self._start = Path(workdir), max(1, steps_per_epoch), start_step
        self._open = True
        self._events: dict[str, EventWriter] = {}
        path = self._workdir / "metrics.jsonl"
        with self._writing(path):
            self._workdir.mkdir(parents=True, exist_ok=True)
            if start_step:
                drop_after(path, start_step)
            elif path.is_file() and path.stat().st_size:
                os.replace(path, path.with_name("metrics.previous.jsonl"))
            # Unbuffered: a line is one write to the system, and complete when the call returns.
            self._lines = open(path, "ab", buffering=0)  # noqa: SIM115 - open as long as this object
        with self._writing(self._workdir / "events"):
            for folder in sorted(folder for folder in (self._workdir / "events").glob("*") if folder.is_dir()):
                self._events[folder.name] = EventWriter(folder, start_step)

    def scalars(self, step: int, values: Mapping[str, Any], split: str) -> None:
        """Records the values of one step; they are with the operating system when the call returns.

        Raises:
          ValueError: if a value bears a name of the format itself (`RESERVED`).
          UserError: if the disk is full or the folder cannot be written.
        """
        if not self._open:
            return
        if taken := sorted(set(values) & set(RESERVED)):
            raise ValueError(f"metrics.jsonl keeps the names {', '.join(taken)} for itself")
        now, values = time.time(), {name: float(value) for name, value in values.items()}
        line = {"step": int(step), "split": split, "epoch": round(step / self._per_epoch, 6), "time": round(now, 3)}
        with self._writing(self._workdir / "metrics.jsonl"):
            self._lines.write(_encode(line | values))
        with self._writing(self._workdir / "events" / split):
            if split not in self._events:
                self._events[split] = EventWriter(self._workdir / "events" / split, self._start)
            self._events[split].scalars(int(step), values, now)

    def close(self) -> None:
        """Closes the files. May be called twice."""
        self._open = False
        files: list[Any] = [self._lines, *self._events.values()]
        for file in files:
            with contextlib.suppress(OSError):  # every line was written before; there is nothing left to lose
                file.close()

    @contextlib.contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._open = False
            raise UserError(
                f"cannot write {error.filename or path}: {error.strerror or error}; make room or choose another workdir"
            ) from error


class EventWriter:
    """Scalars for TensorBoard, in one event file of a folder.

    `tensorboard.summary.writer.event_file_writer` imports TensorFlow where that is installed, and writes from a thread
    that reports a full disk late; so the records are written here, with TensorBoard's encoder and protocol buffers.

    Args:
      folder: made if absent.
      start_step: where the folder holds older files, TensorBoard is told to forget their later steps (at 0: all).
    """

    def __init__(self, folder: Path, start_step: int = 0):
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = event_pb2, summary_pb2
        folder.mkdir(parents=True, exist_ok=True)
        older = any(folder.iterdir())
        # TensorBoard reads the files of a folder in the order of their names: the time comes first, with its fraction.
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._file = open(folder / name, "xb", buffering=0)  # noqa: SIM115 - open as long as the writer
        self._records = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")
        if older:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(step=start_step + 1 if start_step else 0, session_log=start)  # forgets steps >= this one

    def scalars(self, step: int, values: Mapping[str, float], wall_time: float) -> None:
        """Writes the values of one step; raises OSError."""
        points = [self._summary.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write(wall_time, step=step, summary=self._summary.Summary(value=points))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, wall_time=None, **fields):
        event = self._event.Event(wall_time=time.time() if wall_time is None else wall_time, **fields)
        self._records.write(event.SerializeToString())


def read_metrics(workdir: str | os.PathLike) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl` in the order written, non-finite values restored; [] if there is no such file.

    A torn last line, of a run that was killed or is being written now, is left out.

    Raises:
      UserError: if a line before the last is no JSON object, or the file cannot be read.
    """
    path = Path(workdir) / "metrics.jsonl"
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
