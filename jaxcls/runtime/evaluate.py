"""`jaxcls eval MODEL.onnx --data D` (or .tflite): a file, scored on any labelled pictures, without JAX."""

import contextlib
from collections.abc import Iterator

import numpy as np

from jaxcls.data.base import Source
from jaxcls.data.class_names import some
from jaxcls.data.pipeline import default_threads
from jaxcls.errors import UserError
from jaxcls.predict import scoring, written
from jaxcls.predict.reading import ahead
from jaxcls.runtime.foreign import Given
from jaxcls.runtime.predictor import BATCH, FilePredictor
from jaxcls.text import printable
from jaxcls.types import Figures, Note, PathLike

STEP = "0"  # in the names of what is written: a file has no steps


def run(
    path: PathLike,
    data: str,
    *,
    split: str = "",
    out: PathLike | None = None,
    foreign: Given | None = None,
    note: Note = print,
) -> Figures:
    """Scores an ONNX or LiteRT file on all pictures of a set, or of one of its splits. Classes are matched by name.

    Args:
      path: of the file.
      data: as config.data.name.
      split: one of the set's own; "" for all pictures.
      out: where figures and logits go; None: nowhere.
      foreign: what has to be told of a file that jaxcls did not write.
      note: where lines go.

    Returns:
      The figures (metrics.of_logits, set_metrics.of_sets), with "classes".

    Raises:
      UserError: for anything of these that can't be used, and for a picture that can't be read.
    """
    title = "" if out is None else scoring.name_of(data)
    if out is not None:
        scoring.check_free(out, f"{title}-{STEP}", data)
    predictor = FilePredictor.load(path, foreign=foreign)
    source, which = scoring.find(data, split=split, channels=predictor.picture[2])
    note(which)
    classes = predictor.classes if predictor.named else _names(predictor, source, note)
    ask = lambda known: outputs(predictor, known)  # noqa: E731
    scored = scoring.score(source, classes, ask, output=predictor.output, note=note)
    for line in scoring.describe(scored):
        note(f"{predictor.title}: {line}")
    if out is not None:
        figures = {**scored.figures, **scored.about, "data": data}
        saved = written.save(out, title, STEP, scored.outputs, figures)
        written.save_rows(out, title, scored.source)
        note(f"logits in {saved}")
    return {**scored.figures, **scored.about}


def outputs(predictor: FilePredictor, source: Source, batch: int = BATCH) -> dict[str, np.ndarray]:
    """{"logits" [n, classes], "label" [n], "index" [n]} of every picture of a source, in order.

    Raises:
      UserError: for a picture that can't be read, or that the file has no answer to.
    """
    found = [predictor.logits(images) for images in _batches(predictor, source, batch)]
    index = np.arange(len(source), dtype=np.int32)
    return {"logits": np.concatenate(found), "label": np.asarray(source.labels), "index": index}


def _batches(predictor, source, size) -> Iterator[np.ndarray]:
    def read(row):
        item = source[row]
        return predictor.prepare(item["image"], printable(item["id"]))

    pictures = []
    with contextlib.closing(ahead(read, range(len(source)), default_threads(), 2 * size)) as prepared:
        for picture in prepared:
            pictures.append(picture)
            if len(pictures) == size:
                yield np.stack(pictures)
                pictures = []
    if pictures:
        yield np.stack(pictures)


def _names(predictor, source, note):
    """The classes of a set for outputs without names, where there are as many."""
    names = [str(name) for name in source.classes]
    if len(names) != len(predictor.classes):
        raise UserError(
            f"{predictor.session.path} does not say what its {len(predictor.classes):,} outputs mean, and these "
            f"pictures are of {len(names):,} classes; name the outputs with --classes=FILE"
        )
    note(
        f"the file does not say what its outputs mean: taken for the {len(names):,} classes of these pictures in "
        f"their order ({some(names)}); --classes=FILE names them otherwise"
    )
    return names
