"""`jaxcls export --to onnx`: from a network to checked files (float32, INT8, float16), a table and export.json."""

import functools
import importlib.util
from pathlib import Path

import numpy as np

from jaxcls import pytree
from jaxcls.errors import UserError
from jaxcls.export import candidates, check, latency, openvino_check
from jaxcls.export.asked import Options, Subject
from jaxcls.export.candidates import Candidate
from jaxcls.export.check import Ask
from jaxcls.types import Note


def export(subject: Subject, options: Options, note: Note = print) -> int | None:
    """Writes and checks the files, prints the table, records it.

    Returns:
      None, or an exit status: 1 where a file was set aside since it is not as good as was asked for.

    Raises:
      UserError: for what can't be used or written.
    """
    path = options.out or Path(f"{subject.name}.onnx")
    _ready(subject, options, path)
    from jaxcls.export import float_file, trained, variants

    trained.refuse(subject, options)
    calibration, held_out, compared = variants.pictures(subject, options)
    model = float_file.float_model(subject.network, output=options.output, features=options.features, note=note)
    made = _made(subject, options, path, model, calibration, held_out, note)
    with candidates.written(made):
        entries = _judged(subject, options, made, compared, note)
        return candidates.recorded(subject, path, entries, note)


def _made(subject, options, path, model, calibration, held_out, note):
    """The files to be, of the float model."""
    from jaxcls.export import trained, variants

    if trained.is_trained(subject):
        return [trained.candidate(subject, path, model, note)]
    made = [Candidate(path, "float32", candidates.of_model(model))]
    if options.int8:
        int8, about = variants.int8(subject, options, model, calibration, held_out, note)
        unjudged = latency.lacks(options.target)
        named = path.with_name(f"{path.stem}.int8.onnx")
        made.append(Candidate(named, "int8", candidates.of_model(int8), about, unjudged))
    if options.float16:
        from jaxcls.export import half

        named = path.with_name(f"{path.stem}.float16.onnx")
        made.append(Candidate(named, "float16", candidates.of_model(half.half(model))))
    return made


def _ready(subject, options, path):
    """Raises UserError for what would fail after minutes: packages, the place of the files, pictures."""
    for package in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"ONNX files need {package}, which is not installed: pip install onnx onnxruntime")
    size = sum(np.asarray(leaf).nbytes for leaf in pytree.flatten_names(subject.network.variables).values())
    needed = int(size * (1.05 + 0.35 * bool(options.int8) + 0.55 * options.float16))
    if size > 2**31 - 2**20:
        raise UserError(f"{subject.title} has {size / 1e9:.1f} GB of weights, and an ONNX file holds at most 2.1.")
    candidates.check_place(path, needed)


def _judged(subject, options, made, pictures, note):
    """The entries of export.json, with what OpenVINO makes of the INT8 file."""
    from jaxcls.runtime import session

    asked: dict[str, Ask] = {one.name: functools.partial(session.run, session.open(one.unchecked)) for one in made}
    others = _in_openvino(made, note)
    entries, found = candidates.judged(subject, options, made, {**asked, **others}, pictures, note=note)
    for candidate, entry in zip(made, entries, strict=True):
        if (name := f"{candidate.name} in OpenVINO") in others:
            answers = found["answers"]
            same = candidates.compared(subject, options, answers["run"], answers[name], found["labels"])
            entry["openvino"] = {"latency": found["latency"][name], **same}
    return entries


def _in_openvino(made, note):
    """The INT8 file in OpenVINO, where that is installed and takes it."""
    others: dict[str, check.Ask] = {}
    for candidate in made:
        if candidate.precision == "int8" and openvino_check.installed():
            try:
                others[f"{candidate.name} in OpenVINO"] = openvino_check.opened(candidate.unchecked)
            except UserError as error:
                note(str(error))
    return others
