"""Averages of trained weights: of the last checkpoints of a run, or of several runs.

Wortsman et al. 2022, "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
inference time". BatchNorm's statistics belong to weights, and the mean of statistics is none of the mean of weights, so
they are taken anew from training batches (Izmailov et al. 2018, section 3.1), by `precise_bn`.
"""

import dataclasses
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import numpy as np

from jaxcls import files
from jaxcls.checkpoints import view
from jaxcls.checkpoints.members import Checkpoint, same_pictures
from jaxcls.checkpoints.meta import VERSION, Meta
from jaxcls.checkpoints.store import Checkpoints
from jaxcls.errors import UserError
from jaxcls.pytree import flatten_names
from jaxcls.state import TrainState
from jaxcls.tasks.base import shown_figure
from jaxcls.training import build, evaluate, precise_bn, same_run
from jaxcls.training.feed import TrainFeed
from jaxcls.types import Figures, Note, PathLike

PICTURES = 5000  # of which BatchNorm's statistics are taken, where there are so many
FILE = "soup.json"
Arrays = dict[str, np.ndarray]


def mean(trees: Sequence[Arrays], alpha: float | None = None) -> Arrays:
    """The mean of name -> array, in float64 and back to the first one's types; what is no float is the first one's.

    `alpha`: of two trees 1 - alpha parts of the first and alpha of the second; at 0 and 1 the tree itself.
    """
    if alpha in (0, 1):
        return dict(trees[int(alpha)])
    weights = None if alpha is None else (1 - alpha, alpha)
    out = {}
    for name, array in trees[0].items():
        if np.issubdtype(array.dtype, np.integer) or array.dtype == bool:
            out[name] = array
        else:
            parts = [tree[name].astype(np.float64) for tree in trees]
            out[name] = np.average(parts, axis=0, weights=weights).astype(array.dtype)
    return out


class Averager:
    """What makes states of checkpoints and judges them: the run of the first checkpoint.

    Args:
      config: of that run.
      checkpoints: from `choose`.
      pictures: how many BatchNorm's statistics are taken of.
      note: where lines go.

    Raises:
      UserError: for data that can't be opened.
    """

    def __init__(
        self, config: Mapping[str, Any], checkpoints: Sequence[Checkpoint], pictures: int = PICTURES, note: Note = print
    ):
        workdir = checkpoints[0].workdir
        self.config, self.run = config, build.build(config, workdir=workdir)
        same_run.check_pictures(self.run.data, workdir, note)
        same_run.check_fingerprint(self.run.data, checkpoints[0].meta, checkpoints[0].title)
        self.base, self.pictures, self.note = self.run.blank_state(), pictures, note
        self.validation: evaluate.Measure | None = None
        self.feed: TrainFeed | None = None

    def arrays(self, checkpoint: Checkpoint) -> Arrays:
        """Name -> array of what is averaged."""
        return view.read_arrays(checkpoint.folder, checkpoint.tensors)

    def load(self, checkpoint: Checkpoint) -> TrainState:
        """The state of a checkpoint of that run, whole, as host arrays."""
        store = Checkpoints(checkpoint.workdir, transient=self.run.task.transient, read_only=True)
        restored = store.restore(self.base, self.note, step=int(checkpoint.folder.name))
        assert restored is not None  # a step that was asked for is there, or a UserError
        return restored[0]

    def average(self, state: TrainState, trees: Sequence[Arrays], alpha: float | None = None) -> TrainState:
        """The state with the mean of the trees, and BatchNorm's statistics of these weights; host arrays. `alpha` as of
        `mean`: at 0 and 1 the statistics are those of the tree, too."""
        state = _with(state, mean(trees, alpha))
        if precise_bn.STATISTICS not in state.model_state or alpha in (0, 1):
            return state
        run, epoch = self.run, self.run.training.steps_per_epoch
        step = int(state.step) // epoch * epoch  # in an epoch a picture comes once
        self.feed = self.feed or run.train_feed()
        batches = min(epoch, math.ceil(self.pictures / run.training.batch_size))
        # a teacher has no part in the statistics, and may be gone
        refresh = precise_bn.refresher(build.untaught(self.config, run), run.parallel, batches, self.feed)
        return jax.device_get(refresh(run.parallel.place(state), step))

    def judge(self, state: TrainState) -> Figures:
        """The task's figures on validation; {} where there is no such split, or no figure to rank by."""
        if not self.run.selects:
            return {}
        self.validation = self.validation or evaluate.Measure(self.run, "validation")
        return self.validation(self.run.parallel.place(state))[0]

    def shown(self, figures: Mapping[str, Any], prefix: str = "") -> str:
        """ ", validation accuracy 93.00%" of figures on validation: the task's first one; "" where it is not there."""
        first = next(iter(self.run.task.criteria), None)
        if first is None or f"{prefix}{first.name}" not in figures:
            return ""
        return f", validation {shown_figure(first, figures[f'{prefix}{first.name}'])}"

    def close(self) -> None:
        """Stops reading."""
        if self.feed is not None:
            self.feed.close()


def uniform(
    averager: Averager, checkpoints: Sequence[Checkpoint], alpha: float | None = None
) -> tuple[TrainState, dict[str, Any]]:
    """(state, report): the mean of all; with `alpha` the point so far on the way from the first of two to the second
    (WiSE-FT: Wortsman et al. 2022, arXiv 2109.01903, equation 1)."""
    state = averager.average(averager.load(checkpoints[0]), [averager.arrays(each) for each in checkpoints], alpha)
    report: dict[str, Any] = {"method": "uniform", "kept": [each.title for each in checkpoints]}
    report |= {} if alpha is None else {"method": "interpolated", "alpha": alpha}
    if not same_pictures(checkpoints):
        averager.note(
            "warning: these runs were trained on different pictures, so what one held out another has learnt: the "
            "average's figures on validation, and on a test split that is no part of the set, are too good"
        )
    elif figures := averager.judge(state):
        report["validation"] = figures
    return state, report


def greedy(averager: Averager, checkpoints: Sequence[Checkpoint]) -> tuple[TrainState, dict[str, Any]]:
    """(state, report): in the order of config.eval.best on validation, each is kept unless the mean with it is worse.

    The first is the best one as it is, so the result is no worse than it on validation.

    Raises:
      UserError: where there are no figures of validation, or the runs have not the same pictures for it.
    """
    if not same_pictures(checkpoints):
        raise UserError(
            "--greedy needs runs that held out the same pictures: these were trained on different ones; give all of "
            "them one config.seed, or use a set with a validation split of its own."
        )
    if (figure := averager.run.training.best) is None:
        raise UserError("--greedy chooses by figures of validation, and there are none; leave it out.")
    first = averager.load(checkpoints[0])
    trees, judged = [averager.arrays(each) for each in checkpoints], []
    for each, tree in zip(checkpoints, trees, strict=True):
        figures = averager.judge(_with(first, tree))
        judged.append(figures)
        averager.note(f"{each.title}: validation {shown_figure(figure, figures[figure.name])}")
    scores = [averager.run.score(figures) or 0.0 for figures in judged]
    order = np.argsort([-score for score in scores], kind="stable").tolist()
    state = _with(first, trees[order[0]])
    kept, best = [order[0]], averager.judge(state)
    for i in order[1:]:
        candidate = averager.average(first, [trees[j] for j in (*kept, i)])
        figures = averager.judge(candidate)
        good = (averager.run.score(figures) or 0.0) >= (averager.run.score(best) or 0.0)
        measured = shown_figure(figure, figures[figure.name])
        averager.note(f"with {checkpoints[i].title}: {measured}, {'kept' if good else 'left out'}")
        if good:
            kept, best, state = [*kept, i], figures, candidate
    measures = {each.title: figures[figure.name] for each, figures in zip(checkpoints, judged, strict=True)}
    kept_titles = [checkpoints[i].title for i in kept]
    return state, {
        "method": "greedy",
        "kept": kept_titles,
        "validation": best,
        "figure": figure.name,
        "figures": measures,
    }


def _with(state, tree):
    """The state with arrays in place of those of these names."""
    target = flax.serialization.to_state_dict(state)
    leaves = [tree.get(name, leaf) for name, leaf in flatten_names(target).items()]
    return flax.serialization.from_state_dict(state, jax.tree.unflatten(jax.tree.structure(target), leaves))


def check_out(out: PathLike) -> None:
    """Raises UserError where a folder for the average is in use."""
    out = Path(out)
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"--out {out} is in use; choose a new folder.")


def write(out: PathLike, averager: Averager, state: TrainState, report: dict[str, Any], meta: Meta) -> None:
    """A new workdir with the state as its one checkpoint, `config.json` and `soup.json`; all of it or nothing.

    Args:
      out: the folder.
      averager: Averager.
      state: of host arrays.
      report: of `uniform` or `greedy`.
      meta: of the first checkpoint.

    Raises:
      UserError: where it can't be written.
    """
    try:
        _write(Path(out), averager, state, report, meta)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)  # it was empty, and the same command shall find it so
        raise


def _write(out, averager, state, report, meta):
    figures = report.get("validation", {})
    out.mkdir(parents=True, exist_ok=True)
    files.write_json(out / "config.json", averager.run.stored)
    validation = {f"validation_{name}": value for name, value in figures.items()}
    meta = dataclasses.replace(
        meta,
        step=int(state.step),
        averaged=report,
        metrics=validation,
        answer=averager.run.answer,
        figures=averager.run.task.criteria,
        version=VERSION,
    )
    store = Checkpoints(out, keep=1, transient=averager.run.task.transient)
    store.save(averager.run.parallel.saveable(averager.run.parallel.place(state)), meta, averager.run.score(figures))
    store.close()
    files.write_json(out / FILE, report)
