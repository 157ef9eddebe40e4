"""What a net that takes columns beside the picture makes of each: permutation importance.

Breiman 2001 (Random Forests, section 10); Fisher et al. 2019 (JMLR 20:177). A column's cells are dealt anew among the
rows, so that it says nothing of its row any more, and right answers are counted again: the drop is what the net owes to
it. Where two columns say the same, the net may do without either, and both drops are small.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Float

from jaxcls import columns
from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.columns import IMPORTANCE as KEY
from jaxcls.data.base import subset
from jaxcls.models.columns import Columns
from jaxcls.state import TrainState
from jaxcls.tasks.base import Task, beside
from jaxcls.training.run import Run
from jaxcls.types import Batch, PyTree

SEEDS = 10
MOST = 10_000  # rows, spread evenly
PICTURE, TOGETHER = "picture", "all columns"
Ask = Callable[[np.ndarray, np.ndarray], np.ndarray]


def of_run(run: Run, state: TrainState, split: str) -> dict[str, Any]:
    """{KEY: {"rows", "shuffles", "accuracy", "drops": what -> {"mean", "sd"}}} of a split; {} without columns.

    The backbone runs once over the pictures, of one view, whatever the setting of test-time augmentation: what is
    shuffled is its features. Every process has to ask.
    """
    model = run.task.model
    if not isinstance(model, Columns):
        return {}
    source = run.data.source(split)
    if len(source) > MOST:
        source = subset(source, np.linspace(0, len(source) - 1, MOST).round().astype(np.int64))
    found = run.eval_feed(source, Parts(run.task, model, run.data.evaluation))(state)
    variables = run.parallel.host(run.task.answering(state))
    head = model.clone(backbone=Given())
    answer = jax.jit(lambda variables, picture, told: head.apply(variables, picture, train=False, columns=told)[0])
    ask = lambda picture, told: np.asarray(answer(variables, picture, told))  # noqa: E731
    where = columns.places(model.columns)
    return {KEY: drops(ask, found["features"], found["columns"], found["label"], where)}


def drops(
    ask: Ask,
    picture: Float[np.ndarray, "n d"],
    told: Float[np.ndarray, "n width"],
    label: np.ndarray,
    places: Mapping[str, slice],
    seeds: int = SEEDS,
) -> dict[str, Any]:
    """How the share of right answers falls where something is shuffled among the rows.

    Args:
      ask: (features of the pictures, numbers of the columns) -> logits [n, classes].
      picture, told: of the rows.
      label: int [n]; of sets uint8 [n, classes], whose every class counts.
      places: name -> where the numbers of a column stand.
      seeds: shuffles of each.

    Returns:
      "rows", "shuffles", "accuracy" without a shuffle, and "drops": name of a column, "all columns" where there are
      several, "picture" -> {"mean", "sd" (over shuffles)}.
    """
    whole = {**places, **({TOGETHER: slice(None)} if len(places) > 1 else {})}
    base = _right(ask(picture, told), label)
    fallen: dict[str, list[float]] = {name: [] for name in (*whole, PICTURE)}
    for seed in range(seeds):
        order = np.random.Generator(np.random.Philox(seed)).permutation(len(label))
        for name, place in whole.items():
            mixed = told.copy()
            mixed[:, place] = told[order, place]
            fallen[name].append(base - _right(ask(picture, mixed), label))
        fallen[PICTURE].append(base - _right(ask(picture[order], told), label))
    told_of = {name: {"mean": float(np.mean(x)), "sd": float(np.std(x, ddof=1))} for name, x in fallen.items()}
    return {"rows": len(label), "shuffles": seeds, "accuracy": base, "drops": told_of}


def line(found: Mapping[str, Any]) -> str:
    """What `of_run` has found, for people; "" for nothing."""
    if KEY not in found:
        return ""
    told = found[KEY]["drops"].items()
    parts = (f"{name} {100 * drop['mean']:.1f} ± {100 * drop['sd']:.1f}" for name, drop in told)
    return f"points of accuracy lost where one is shuffled: {', '.join(parts)}"


class Given(nn.Module):
    """In place of a backbone: takes features for pictures."""

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
        """See the class."""
        del train
        return images, {"pre_logits": images}


class Parts(Task):
    """Predicts the features of the pictures alone, and the columns as they are."""

    def __init__(self, task: Task, model: Columns, pictures: Preprocessing):
        self.task, self.model, self.pictures = task, model, pictures

    def predict(self, state: PyTree, batch: Batch) -> dict[str, jax.Array]:
        """See the class."""
        image = self.pictures.device(batch["image"])
        variables = self.task.answering(state)
        _, out = self.model.apply(variables, image, train=False, **beside(self.model, batch))
        features = out["pre_logits"][:, : out["pre_logits"].shape[1] - 2 * self.model.features]
        return {"features": features.astype(jnp.float32), "columns": batch["columns"]}


def _right(logits, label):
    if label.ndim == 2:
        return float(((logits > 0) == (label > 0)).mean())
    return float((logits.argmax(axis=1) == label).mean())
