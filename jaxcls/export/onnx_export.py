"""`jaxcls export --to onnx`: from a network to checked files (float32, INT8, float16), a table and export.json."""

import contextlib
import dataclasses
import functools
import importlib.util
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls import files, pytree
from jaxcls.errors import UserError
from jaxcls.export import check, latency, openvino_check, record
from jaxcls.export.asked import Options, Subject
from jaxcls.export.pictures import Pictures
from jaxcls.types import Note

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclasses.dataclass(frozen=True)
class Variant:
    """A file to be: its final path, its model, "float32" and so on, what export.json says of its making."""

    path: Path
    model: "ModelProto"
    precision: str
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the file."""
        return self.path.name

    @property
    def unchecked(self) -> Path:
        """Where it lies until it is checked."""
        return self.path.with_name(f"{self.path.stem}.unchecked.onnx")

    @property
    def rejected(self) -> Path:
        """Where it lies if it is set aside."""
        return self.path.with_name(f"{self.path.stem}.rejected.onnx")


def export(subject: Subject, options: Options, note: Note = print) -> int | None:
    """Writes and checks the files, prints the table, records it.

    Returns:
      None, or an exit status: 1 where a file was set aside since it is not as good as was asked for.

    Raises:
      UserError: for what can't be used or written.
    """
    path = options.out or Path(f"{subject.name}.onnx")
    _ready(subject, options, path)
    from jaxcls.export import float_file, variants

    calibration, held_out, compared = variants.pictures(subject, options)
    model = float_file.float_model(subject.network, output=options.output, features=options.features, note=note)
    made = [Variant(path, model, "float32")]
    if options.int8:
        int8, about = variants.int8(subject, options, model, calibration, held_out, note)
        made.append(Variant(path.with_name(f"{path.stem}.int8.onnx"), int8, "int8", about))
    if options.float16:
        from jaxcls.export import half

        made.append(Variant(path.with_name(f"{path.stem}.float16.onnx"), half.half(model), "float16"))
    with _written(made):
        entries = _checked(subject, options, made, compared, note)
        place = record.path(subject.folder, path)
        record.write(place, entries)
    for line in [*record.table(entries), record.footer(entries[0]["machine"])]:
        note(line)
    note(f"recorded in {place}")
    return 1 if any(entry["status"] == check.REJECTED for entry in entries) else None


def _ready(subject, options, path):
    """Raises UserError for what would fail after minutes: packages, the place of the files, pictures."""
    for package in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"ONNX files need {package}, which is not installed: pip install onnx onnxruntime")
    with files.replacing(path.with_name(f"{path.stem}.unchecked.onnx")) as temporary:
        temporary.touch()
    path.with_name(f"{path.stem}.unchecked.onnx").unlink()
    size = sum(np.asarray(leaf).nbytes for leaf in pytree.flatten_names(subject.network.variables).values())
    needed = int(size * (1.05 + 0.35 * bool(options.int8) + 0.55 * options.float16))
    if size > 2**31 - 2**20:
        raise UserError(f"{subject.title} has {size / 1e9:.1f} GB of weights, and an ONNX file holds at most 2.1.")
    if (free := shutil.disk_usage(path.absolute().parent).free) < needed:
        raise UserError(f"{path} needs {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} are free there; free some space.")


@contextlib.contextmanager
def _written(made: list[Variant]) -> Iterator[None]:
    """The files under the names that they have until they are checked; what is left of those goes at the end."""
    try:
        for variant in made:
            with files.replacing(variant.unchecked) as temporary:
                temporary.write_bytes(variant.model.SerializeToString())
        yield
    finally:
        for variant in made:
            variant.unchecked.unlink(missing_ok=True)


def _checked(subject, options, made, pictures, note):
    """Asks all files, gives each the name that it deserves, times them. Returns the entries of export.json."""
    from jaxcls.runtime import session

    sessions = {variant.name: session.open(variant.unchecked) for variant in made}
    asked: dict[str, check.Ask] = {name: functools.partial(session.run, opened) for name, opened in sessions.items()}
    others = _in_openvino(made, note)
    run = check.runner(subject.network, options.output)
    numbers, answers = _answers(subject, options, run, {**asked, **others}, pictures)
    labels = None if pictures.labels is None else pictures.labels[numbers]
    classes = subject.network.key == "logits"
    entries, finals = [], {}
    for variant in made:
        found = check.compared(answers["run"], answers[variant.name], labels, classes=classes)
        unjudged = latency.lacks(options.target) if variant.precision == "int8" else ""
        status, sentence = check.verdict(
            found, variant.name, variant.precision, max_drop=options.max_drop, unjudged=unjudged
        )
        note(sentence)
        found = {"on": pictures.about, **found}
        finals[variant.name] = _settled(variant, found, status, note)
        entries.append(_entry(subject, options, variant, finals[variant.name], status, sentence))
        entries[-1]["check"] = found
    shape = tuple(next(iter(pictures.batches(1)))[1].shape[1:])
    times = latency.measure({"run": run, **asked, **others}, shape)
    machine = latency.machine()
    for variant, entry in zip(made, entries, strict=True):
        entry |= {"latency": times[variant.name], "run": times["run"], "machine": machine}
        if (name := f"{variant.name} in OpenVINO") in others:
            found = check.compared(answers["run"], answers[name], labels, classes=classes)
            entry["openvino"] = {"latency": times[name], **found}
    return entries


def _in_openvino(made, note):
    """The INT8 file in OpenVINO, where that is installed and takes it."""
    others: dict[str, check.Ask] = {}
    for variant in made:
        if variant.precision == "int8" and openvino_check.installed():
            try:
                others[f"{variant.name} in OpenVINO"] = openvino_check.opened(variant.unchecked)
            except UserError as error:
                note(str(error))
    return others


def _answers(subject, options, run, asked, pictures: Pictures):
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


def _settled(variant, found, status, note):
    """Puts what was found into a checked file, gives it its name, and returns that path."""
    variant.model.metadata_props.add(key="check", value=json.dumps(found))
    with files.replacing(variant.unchecked) as temporary:
        temporary.write_bytes(variant.model.SerializeToString())
    final = variant.rejected if status == check.REJECTED else variant.path
    try:
        variant.unchecked.replace(final)
        if status != check.REJECTED:
            variant.rejected.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{final} can't be written: {error.strerror or error}; {files.REMEDY}.") from error
    if status == check.REJECTED:
        note(f"set aside as {final}; there is no new {variant.path}")
    return final


def _entry(subject, options, variant, final, status, sentence):
    return {
        "file": final.name,
        "path": str(final.absolute()),
        "replaces": str(variant.rejected.absolute()) if final == variant.path else "",
        "title": subject.title,
        "step": subject.network.step,
        "precision": variant.precision,
        "output": options.output if subject.network.key == "logits" else "features",
        "bytes": final.stat().st_size,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "status": status,
        "verdict": sentence,
        **({"quantisation": dict(variant.about)} if variant.about else {}),
    }
