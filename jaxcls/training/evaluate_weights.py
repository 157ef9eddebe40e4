"""`jaxcls eval --model M --weights F --data D`: weights of a file, scored on any labelled pictures."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from jaxcls import files
from jaxcls.data import class_names
from jaxcls.data.base import Source
from jaxcls.models import weight_files
from jaxcls.parallel import Parallel
from jaxcls.settings import config_file
from jaxcls.settings.reader import Reader, resolve
from jaxcls.training import evaluate_other, published_weights
from jaxcls.training.data import skipped
from jaxcls.training.transforms import normalization, preprocessing
from jaxcls.types import Figures, Note, PathLike


def run(
    model: str,
    weights: str,
    data: str,
    settings: Sequence[tuple[str, str]] = (),
    *,
    split: str = "",
    classes: PathLike | None = None,
    out: PathLike | None = None,
    note: Note = print,
) -> Figures:
    """Scores the weights of a file on all pictures of a set, or of one of its splits.

    Args:
      model: name of the model.
      weights: the file, or `hf-hub:ORG/NAME`.
      data: as config.data.name.
      settings: (key, text) of `--config.key=text`: pictures, fields of the model, views, devices.
      split: one of the set's own; "" for all pictures.
      classes: a file with the class names, one a line, in the order of the outputs. None: those that the file of
        weights tells, else the set's own in their order where there are as many as outputs.
      out: where figures and logits go; None: nowhere.
      note: where lines go.

    Returns:
      The figures (metrics.of_logits), with "classes".

    Raises:
      UserError: for anything of these that can't be used.
    """
    title = "" if out is None else evaluate_other.name_of(data)
    if out is not None:
        evaluate_other.check_free(out, f"{title}-0", data)
    config = published_weights.config_of(model, data)
    config_file.override(config, settings)
    reader = Reader(resolve(config))
    normalization(reader)  # what can't be is told before pictures are opened
    source, which = evaluate_other.find(data, data_dir=reader.data.dir, split=split, channels=reader.data.channels)
    note(which)
    names = _class_names(classes, weights, source, note)
    pictures = preprocessing(reader, source)
    pictures.check()
    first = pictures.prepare(source[0]["image"], source[0]["id"])
    shape = jax.eval_shape(pictures.device, jax.ShapeDtypeStruct((2, *first.shape), np.uint8)).shape[1:]
    network, report = published_weights.network(weights, reader, pictures, shape, names, count=len(names))
    note(str(report))
    parallel = Parallel.of(reader.parallel)
    batch_size = reader.eval.batch_size or reader.batch_size
    scored = evaluate_other.score(network, source, parallel, batch_size=batch_size, skipped=skipped(reader), note=note)
    for line in evaluate_other.describe(scored):
        note(f"{network.title}: {line}")
    if out is not None:
        path = evaluate_other.save(out, title, "0", scored, data)
        if jax.process_index() == 0:
            files.write_json(Path(out) / "pretrained.json", report.to_dict())
        note(f"logits in {path}")
    return {**scored.figures, **scored.about}


def _class_names(file: PathLike | None, weights: str, source: Source, note: Note) -> list[str]:
    """Names of the outputs, in order. Raises UserError where they can't be known."""
    if file is not None:
        return class_names.read(file)
    if names := list(weight_files.read(weights).says.classes):
        return names
    names = [str(name) for name in source.classes]
    note(
        f"the weights do not say what their outputs mean: taken for the {len(names):,} classes of these pictures in "
        f"their order ({class_names.some(names)}); --classes=FILE names them otherwise"
    )
    return names
