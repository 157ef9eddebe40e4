"""Event files for TensorBoard in `events/<split>` of the workdir."""

import os
import socket
import time as clock
from collections.abc import Mapping
from pathlib import Path


class EventFiles:
    """The writer of `events/<split>`, with a file in each folder.

    Args:
      workdir: a folder that exists.
      start_step: the step the run resumes from. What a killed run wrote after it is hidden in TensorBoard, in every
        folder that is there already (at 0: all of it).

    Raises:
      OSError: from any method, if a file cannot be written.
    """

    essential = True

    def __init__(self, workdir: Path, start_step: int = 0):
        self._folder, self._start = workdir / "events", start_step
        self.name = str(self._folder)
        folders = sorted(folder for folder in self._folder.glob("*") if folder.is_dir())
        self._files = {folder.name: EventFile(folder, start_step) for folder in folders}

    def scalars(self, step: int, split: str, epoch: float, time: float, values: Mapping[str, float]) -> None:
        """Appends a record to the file of the split."""
        if split not in self._files:
            self._files[split] = EventFile(self._folder / split, self._start)
        self._files[split].scalars(step, values, time)

    def close(self, finished: bool = True) -> None:
        """Closes the files."""
        for file in self._files.values():
            file.close()


class EventFile:
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
        name = f"events.out.tfevents.{clock.time():.6f}.{socket.gethostname()}.{os.getpid()}"
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
        event = self._event.Event(wall_time=clock.time() if wall_time is None else wall_time, **fields)
        self._records.write(event.SerializeToString())
