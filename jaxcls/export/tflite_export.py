"""`jaxcls export --to tflite`: from a network to checked LiteRT files (float32, INT8, float16), and their record."""

import functools
import importlib.metadata
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxcls import pytree
from jaxcls.errors import UserError
from jaxcls.export import candidates, tflite, trained, variants
from jaxcls.export import subject as subjects
from jaxcls.export.asked import Options, Subject
from jaxcls.export.candidates import Candidate
from jaxcls.export.check import Ask
from jaxcls.export.pictures import Pictures
from jaxcls.runtime import litert, metadata, session
from jaxcls.runtime.session import Session
from jaxcls.types import Note

SUFFIX = litert.SUFFIX
PACKAGES = ("tensorflow", "ai_edge_litert")  # as they are imported
INSTALL = "pip install 'tensorflow-cpu>=2.21,<2.22' ai-edge-litert"
BATCHES = (tflite.BATCH,)  # that are timed
VERSIONS = ("tensorflow", "tensorflow-cpu", "ai-edge-litert")
RUBBISH = (
    "--int8 of LiteRT files is for nets of convolutions, and {:.0f} % of the multiply-adds of {} are in these: "
    "attention and layer norm in 8 bits answer rubbish (measured); take --float16, or --to onnx --int8."
)


def export(subject: Subject, options: Options, note: Note = print) -> int | None:
    """Writes and checks the files, prints the table, records it; as `onnx_export.export`.

    Args:
      subject: what is exported.
      options: `out` is NAME.tflite; int8 "auto" and "static" are the same, and there are no features, no targets, and
        one method of calibration.
      note: where lines go.

    Returns:
      None, or an exit status: 1 where a file was set aside since it is not as good as was asked for.

    Raises:
      UserError: for what can't be used or written.
    """
    path = options.out or Path(f"{subject.name}{SUFFIX}")
    shape = subjects.prepared(subject.network.preprocessing)
    _ready(subject, options, path, shape)
    calibration, _, compared = variants.pictures(subject, options)
    if options.int8 and calibration is None:
        lost = f" ({subject.why_no_data})" if subject.why_no_data else ""
        raise UserError(f"--int8 needs pictures to calibrate on, and there are none{lost}: --calibration DIR.")
    output = options.output if subject.network.key == "logits" else "features"
    program = tflite.program(subject.network, shape, output)
    named = lambda part: path.with_name(f"{path.stem}{part}{SUFFIX}")  # noqa: E731
    content = functools.partial(_content, subject.network, output)
    made = [Candidate(path, "float32", content("float32", tflite.convert(program)))]
    if options.int8:
        assert calibration is not None
        note(f"INT8: calibrated by minmax on {calibration.about}")
        model = tflite.convert(program, "int8", _single(calibration))
        about = {"way": "static", "method": "minmax", "pictures": calibration.count, "on": calibration.about}
        made.append(Candidate(named(".int8"), "int8", content("int8", model), about))
    if options.float16:
        made.append(Candidate(named(".float16"), "float16", content("float16", tflite.convert(program, "float16"))))
    with candidates.written(made):
        asked = {candidate.name: ask(session.open(candidate.unchecked)) for candidate in made}
        entries, _ = candidates.judged(subject, options, made, asked, compared, batches=BATCHES, note=note)
        for entry in entries:
            entry["machine"]["versions"] |= _versions()
        return candidates.recorded(subject, path, entries, note)


def ask(opened: Session) -> Ask:
    """A file of a fixed batch of one as a function of any number of pictures."""

    def answer(images):
        return np.concatenate([session.run(opened, images[i : i + 1]) for i in range(len(images))])

    return answer


def _ready(subject, options, path, shape):
    """Raises UserError for what would fail after minutes: packages, the place of the files, what INT8 can't be."""
    if trained.is_trained(subject):
        raise UserError(
            f"--to tflite: {subject.title} was trained for INT8, and a LiteRT file has no place for its ranges; export "
            "it --to onnx, or the run that it started from with --to tflite --int8."
        )
    if subject.network.preprocessing.clips:
        raise UserError(
            f"--to tflite: {subject.title} takes clips, which LiteRT files have no place for; --to onnx does."
        )
    if missing := [package for package in PACKAGES if importlib.util.find_spec(package) is None]:
        raise UserError(f"LiteRT files need {missing[0]}, which is not installed: {INSTALL}")
    size = sum(np.asarray(leaf).nbytes for leaf in pytree.flatten_names(subject.network.variables).values())
    if size > 2**31 - 2**20:
        raise UserError(f"{subject.title} has {size / 1e9:.1f} GB of weights, and a LiteRT file holds at most 2.1.")
    candidates.check_place(path, int(size * (1.05 + 0.3 * bool(options.int8) + 0.55 * options.float16)))
    if not options.int8:
        return
    if options.int8 == "dynamic":
        raise UserError("--int8=dynamic is for --to onnx; LiteRT files are quantised statically: --int8.")
    if options.output == "probabilities":
        raise UserError(
            "--int8 and --answers probabilities: in a LiteRT file these would be of 8 bits, as small ones are not; "
            "leave --answers out, and `jaxcls predict` calibrates the file's logits."
        )
    share = tflite.share_of_convolutions(subject.network, shape)
    if share < tflite.MOSTLY:
        raise UserError(RUBBISH.format(100 * share, subject.title))


def _content(network, output, precision, model):
    """Candidate.content of a model."""
    told = metadata.of(network, output=output, precision=precision)
    told["versions"] = json.dumps({**json.loads(told["versions"]), **_versions()})

    def content(more: Mapping[str, str]) -> bytes:
        return litert.packed(model, {**told, **more})

    return content


def _single(pictures: Pictures):
    """Pictures one at a time, read anew, [1, h, w, c]."""
    return (images for _, images in pictures.batches(tflite.BATCH))


def _versions() -> dict[str, str]:
    """Of what converts and runs the files."""
    found = {}
    for package in VERSIONS:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
