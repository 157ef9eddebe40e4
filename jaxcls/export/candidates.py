"""Files on trial: written under other names, asked what the run is asked, named as they deserve, and recorded."""

import contextlib
import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls import files
from jaxcls.errors import UserError
from jaxcls.export import check, latency, record, set_check
from jaxcls.export.asked import Options, Subject
from jaxcls.export.check import Ask
from jaxcls.export.pictures import Pictures
from jaxcls.types import Note

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A file to be.

    Attributes:
      path: its final one.
      precision: "float32", "float16" or "int8".
      content: more metadata -> the file's bytes.
      about: what export.json says of its making.
      unjudged: why its drop on this machine says nothing; "" where it does.
    """

    path: Path
    precision: str
    content: Callable[[Mapping[str, str]], bytes]
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    unjudged: str = ""

    @property
    def name(self) -> str:
        """Of the file."""
        return self.path.name

    @property
    def unchecked(self) -> Path:
        """Where it lies until it is checked."""
        return unchecked(self.path)

    @property
    def rejected(self) -> Path:
        """Where it lies if it is set aside."""
        return self.path.with_name(f"{self.path.stem}.rejected{self.path.suffix}")


def of_model(model: "ModelProto") -> Callable[[Mapping[str, str]], bytes]:
    """`Candidate.content` of a model of ONNX."""

    def content(more: Mapping[str, str]) -> bytes:
        for key, value in more.items():
            model.metadata_props.add(key=key, value=value)
        return model.SerializeToString()

    return content


def unchecked(path: Path) -> Path:
    """Where a file of this final path lies until it is checked."""
    return path.with_name(f"{path.stem}.unchecked{path.suffix}")


def check_place(path: Path, size: int) -> None:
    """Raises UserError where files of so many bytes together can't be written beside `path`."""
    with files.replacing(unchecked(path)) as temporary:
        temporary.touch()
    unchecked(path).unlink()
    if (free := shutil.disk_usage(path.absolute().parent).free) < size:
        raise UserError(f"{path} needs {size / 1e6:,.0f} MB, and {free / 1e6:,.0f} are free there; free some space.")


@contextlib.contextmanager
def written(made: Sequence[Candidate]) -> Iterator[None]:
    """The files under the names that they have until they are checked; what is left of those goes at the end."""
    try:
        for candidate in made:
            with files.replacing(candidate.unchecked) as temporary:
                temporary.write_bytes(candidate.content({}))
        yield
    finally:
        for candidate in made:
            candidate.unchecked.unlink(missing_ok=True)


def judged(
    subject: Subject,
    options: Options,
    made: Sequence[Candidate],
    asked: Mapping[str, Ask],
    pictures: Pictures,
    *,
    batches: Sequence[int] = latency.BATCHES,
    note: Note = print,
) -> tuple[list[record.Entry], Mapping[str, Any]]:
    """Asks all files, gives each the name that it deserves, and times them.

    Args:
      subject, options: what is exported.
      made: the files, which lie under their names for unchecked ones.
      asked: name of a file -> the file as a function; others are asked and timed with them.
      pictures: to compare on.
      batches: that are timed.
      note: where lines go.

    Returns:
      (the entries of export.json, in the order of `made`; name -> answers, and the times of all that was asked, as
      "answers", "latency" and "labels").
    """
    run = check.runner(subject.network, options.output)
    numbers, answers = _answers(subject, options, run, asked, pictures)
    labels = None if pictures.labels is None else pictures.labels[numbers]
    entries = []
    for candidate in made:
        found = compared(subject, options, answers["run"], answers[candidate.name], labels)
        status, sentence = check.verdict(
            found, candidate.name, candidate.precision, max_drop=options.max_drop, unjudged=candidate.unjudged
        )
        note(sentence)
        found = {"on": pictures.about, **found}
        final = _settled(candidate, found, status, note)
        entries.append({**_entry(subject, options, candidate, final, status, sentence), "check": found})
    shape = tuple(next(iter(pictures.batches(1)))[1].shape[1:])
    times = latency.measure({"run": run, **asked}, shape, batches)
    machine = latency.machine()
    for candidate, entry in zip(made, entries, strict=True):
        entry |= {"latency": times[candidate.name], "run": times["run"], "machine": machine}
    return entries, {"answers": answers, "latency": times, "labels": labels}


def compared(
    subject: Subject, options: Options, run: np.ndarray, file: np.ndarray, labels: np.ndarray | None
) -> dict[str, Any]:
    """`check.compared` of what is exported."""
    limits = set_check.limits(subject.network, options.output)
    return check.compared(run, file, labels, classes=subject.network.key == "logits", limits=limits)


def _answers(subject, options, run, asked, pictures):
    """(numbers of the pictures that could be read, name -> answers), the run's as "run": stored ones, if they are."""
    stored = None
    if subject.folder is not None:
        plain = run if options.output == "logits" else check.runner(subject.network)
        stored = check.stored_logits(subject.network, subject.folder, pictures, plain)
    if stored is None:
        return check.answers({"run": run, **asked}, pictures)
    numbers, answers = check.answers(asked, pictures)
    logits = stored[numbers]
    answers["run"] = check.given(subject.network, logits) if options.output == "probabilities" else logits
    return numbers, answers


def _settled(candidate, found, status, note):
    """Puts what was found into a checked file, gives it its name, and returns that path."""
    with files.replacing(candidate.unchecked) as temporary:
        temporary.write_bytes(candidate.content({"check": json.dumps(found)}))
    final = candidate.rejected if status == check.REJECTED else candidate.path
    try:
        candidate.unchecked.replace(final)
        if status != check.REJECTED:
            candidate.rejected.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{final} can't be written: {error.strerror or error}; {files.REMEDY}.") from error
    if status == check.REJECTED:
        note(f"set aside as {final}; there is no new {candidate.path}")
    return final


def _entry(subject, options, candidate, final, status, sentence):
    return {
        "file": final.name,
        "path": str(final.absolute()),
        "replaces": str(candidate.rejected.absolute()) if final == candidate.path else "",
        "title": subject.title,
        "step": subject.network.step,
        "precision": candidate.precision,
        "output": options.output if subject.network.key == "logits" else "features",
        "bytes": final.stat().st_size,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "status": status,
        "verdict": sentence,
        **({"quantisation": dict(candidate.about)} if candidate.about else {}),
    }


def recorded(subject: Subject, path: Path, entries: Sequence[record.Entry], note: Note = print) -> int | None:
    """Writes the record, prints the table; the exit status: 1 where a file was set aside, else None.

    Raises:
      UserError: where it can't be written.
    """
    place = record.path(subject.folder, path)
    record.write(place, entries)
    for line in [*record.table(entries), record.footer(entries[0]["machine"])]:
        note(line)
    note(f"recorded in {place}")
    return 1 if any(entry["status"] == check.REJECTED for entry in entries) else None
