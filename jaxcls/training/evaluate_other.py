"""Evaluation of a network on pictures that are not its run's own: another folder, or weights without a run."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.data import pipeline, stored_splits
from jaxcls.data.base import Source
from jaxcls.errors import UserError
from jaxcls.parallel import Parallel
from jaxcls.predict import scoring
from jaxcls.predict.scoring import Scored as Scored
from jaxcls.predict.scoring import check_free as check_free
from jaxcls.predict.scoring import check_name as check_name
from jaxcls.predict.scoring import describe as describe
from jaxcls.predict.scoring import find as find
from jaxcls.predict.scoring import name_of as name_of
from jaxcls.tasks.base import Task
from jaxcls.tasks.networks import Network
from jaxcls.training import predictions
from jaxcls.training.feed import StreamEvalFeed
from jaxcls.training.step import make_eval_step
from jaxcls.types import Batch, Note, PathLike, PyTree


class Answers(Task):
    """Predicts `{"logits"}` of a network for pictures as `prepare` makes them; for a state it takes the variables."""

    def __init__(self, network: Network):
        self.network = network

    def predict(self, state: PyTree, batch: Batch) -> dict[str, jax.Array]:
        """See the class."""
        return {"logits": self.network.answer(state, self.network.preprocessing.device(batch["image"]), batch)}


class Prepared:
    """The transform of a Stream that treats any picture as prediction does; can be pickled."""

    def __init__(self, preprocessing: Preprocessing):
        self.preprocessing = preprocessing

    def __call__(self, image: Any, name: str, _: Any) -> np.ndarray:
        return self.preprocessing.prepare(image, name)


def score(
    network: Network,
    source: Source,
    parallel: Parallel,
    *,
    batch_size: int,
    stored: stored_splits.Stored | None = None,
    same_folder: bool = False,
    skipped: Note | None = None,
    note: Note = print,
) -> Scored:
    """Figures of a network on a source, whose classes are matched by name.

    Args:
      network: that answers with logits.
      source: any labelled pictures.
      parallel: the devices.
      batch_size: of all of them together.
      stored: the splits of the network's run, which the pictures are held against; None: they can't be.
      same_folder: whether ids of the source are ids of the run.
      skipped: told of pictures that can't be read, which are then left out; None: the first one is an error.
      note: where lines go.

    Raises:
      UserError: for another kind of network, or a set without a class that it knows.
    """
    if network.key != "logits":
        raise UserError(f"{network.title} answers with {network.key}, not with classes: there is nothing to score.")
    return scoring.score(
        source,
        network.classes,
        lambda known: _predicted(network, known, parallel, batch_size, skipped),
        output=network.output,
        stored=stored,
        same_folder=same_folder,
        note=note,
    )


def _predicted(network, source, parallel, batch_size, skipped):
    """Logits, label and index of every row."""
    step = make_eval_step(Answers(network), axis_name=parallel.axis_name)
    n, share = len(source), parallel.local_rows(batch_size)

    def rows(number):
        return pipeline.eval_rows(number, n=n, batch_size=batch_size)

    stream = pipeline.Stream(source, Prepared(network.preprocessing), rows, share=share, skipped=skipped)
    feed = StreamEvalFeed(step, stream, parallel, n=n, batch_size=batch_size)
    return feed(parallel.place(network.variables))


def save(workdir: PathLike, name: str, step: str, scored: Scored, root: str) -> Path:
    """Writes `eval/<name>-<step>.npz`, its figures as JSON beside it, and `eval/<name>-rows.json`.

    Args:
      workdir: of the run.
      name: of the evaluation.
      step: of the checkpoint, with the suffix of another test-time augmentation than the run's (tta.suffix).
      scored: from `score`.
      root: where the pictures come from.

    Raises:
      UserError: where a file can't be written.
    """
    figures = {**scored.figures, **scored.about, "data": root}
    path = predictions.save(workdir, name, step, scored.outputs, figures)
    predictions.save_rows(workdir, name, scored.source)
    return path
