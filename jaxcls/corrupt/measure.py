"""How often a trained net is right under the common corruptions: every picture at every strength, in one pass.

The pictures are those that evaluation shows the net, as `config.data.eval_transform` leaves them, corrupted just
before they are normalised. The noise of a picture depends on its row and the seed alone.
"""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxcls import corrupt, files, metrics
from jaxcls.augment.base import fold, to_uint8
from jaxcls.corrupt import errors
from jaxcls.data.base import multilabel, refuse_clips, subset
from jaxcls.errors import UserError
from jaxcls.parallel import Parallel
from jaxcls.settings.reader import Reader, choose, resolve
from jaxcls.tasks import networks
from jaxcls.tasks.base import SOFTMAX, Task
from jaxcls.tasks.networks import Network
from jaxcls.training import data, feeds, same_run
from jaxcls.types import Batch, Figures, Note, PathLike, PyTree

FILE = "robustness.json"
LINE_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class Options:
    """What is measured.

    Attributes:
      corruptions: names; () for all 15.
      strengths: from 1 to 5.
      split: "" for test, else validation where there is no test.
      limit: as many pictures, drawn by the seed; 0 for all.
      step: of the checkpoint; None for the best one, else the newest.
      seed: of the noise and of the pictures drawn.
    """

    corruptions: tuple[str, ...] = ()
    strengths: tuple[int, ...] = corrupt.STRENGTHS
    split: str = ""
    limit: int = 0
    step: int | None = None
    seed: int = 0


class Corrupted(Task):
    """Predicts `{"right"}`: bool [n, 1 + corruptions x strengths], whether the class is the label; without one first.

    For a state it takes the network's variables. One version of the batch after the other goes through the net, in a
    loop that is compiled once.

    Args:
      network: that answers with logits.
      names: of the corruptions.
      strengths: of each.
      seed: of the noise.
    """

    def __init__(self, network: Network, names: Sequence[str], strengths: Sequence[int], seed: int):
        pairs = [(0, 0), *((i, strength) for i in range(len(names)) for strength in strengths)]
        self.network, self.pairs = network, np.array(pairs, np.int32)
        self.corrupt = _corrupting(network.preprocessing, names, seed)

    def predict(self, state: PyTree, batch: Batch) -> dict[str, Array]:
        """See the class."""
        image = self.network.preprocessing.device(batch["image"])

        def right(pair):
            logits = self.network.answer(state, self.corrupt(image, batch["index"], *pair), batch)
            return metrics.correct(logits, batch["label"]) > 0

        return {"right": jax.lax.map(right, jnp.asarray(self.pairs)).T}


def _corrupting(preprocessing, names, seed):
    """(normalised pictures, their rows, number of a corruption, strength) -> the pictures corrupted."""
    mean, std = (np.asarray(value, np.float32) for value in (preprocessing.mean, preprocessing.std))
    branches, numbers = corrupt.branches(names), np.array([list(corrupt.CORRUPTIONS).index(name) for name in names])

    def corrupting(image, index, kind, strength):
        base = jax.random.key(seed)
        keys = fold(jax.vmap(lambda row: jax.random.fold_in(base, row))(index), jnp.asarray(numbers)[kind])
        images = to_uint8((image * std + mean) * 255)  # exact: that is what they were before
        images = jax.lax.switch(kind, branches, keys, images, strength)
        return (images.astype(jnp.float32) / 255 - mean) / std

    return corrupting


def run(config: ConfigDict, workdir: PathLike, options: Options, note: Note = print) -> Figures:
    """Measures a run and writes `robustness.json` into its workdir.

    Args:
      config: of the run.
      workdir: of the run.
      options: Options.
      note: where lines about the progress go.

    Returns:
      What is written: split, step, count, data, options, `accuracy` and `error` without a corruption, `errors`
      (corruption -> {strength: share}), `mean_errors` (corruption -> share), `mean_error`.

    Raises:
      UserError: for options, data or a checkpoint that can't be used.
    """
    names = tuple(dict.fromkeys(options.corruptions or corrupt.CORRUPTIONS))
    for name in names:
        choose("--corruptions", name, corrupt.CORRUPTIONS)
    strengths = tuple(sorted(set(options.strengths)))
    if not strengths or not set(strengths) <= set(corrupt.STRENGTHS):
        raise UserError("--strengths are whole numbers from 1 to 5.")
    reader = Reader(resolve(config))
    pictures = data.read(reader, trains=False, workdir=workdir)
    same_run.check_evaluation(same_run.to_json(reader.config), workdir, named=False)
    split = options.split or pictures.result_split or "test"
    if split not in pictures.sources:
        raise UserError(f"there is no {split} split to measure on; there is {', '.join(pictures.sources)}.")
    same_run.check_opened(pictures, workdir, options.step, [split])
    refuse_clips(pictures.sources[split], "jaxcls robustness")
    if multilabel(pictures.sources[split]):
        raise UserError("robustness is measured by the share of right classes, and the labels of this run are sets.")
    source, parallel = pictures.sources[split], Parallel.of(reader.parallel)
    network = networks.from_run(workdir, options.step)
    network = dataclasses.replace(network, views=tuple(reader.eval.tta), mean=reader.eval.tta_mean)
    if network.output != SOFTMAX:
        raise UserError(f"robustness is measured of models that tell one class, and {network.title} does not.")
    networks.check_pictures(network, pictures.picture, "logits", len(source.classes))
    task, drawn = Corrupted(network, names, strengths, options.seed), _drawn(source, options)
    feed = feeds.evaluation(pictures, parallel, drawn, task)
    _count_batches(feed, -(-len(drawn) // pictures.eval_batch_size), note)
    note(f"{len(drawn):,} pictures of {split}, each {len(task.pairs)} times; compiling ...")
    right = feed(parallel.place(network.variables))["right"]
    report = {
        "split": split,
        "step": network.step,
        "count": len(right),
        "limit": options.limit,
        "seed": options.seed,
        "data": {"name": config.data.name, "fingerprint": source.fingerprint, "classes": len(source.classes)},
        "picture": list(pictures.picture),
        **_errors(right, names, strengths),
    }
    save(report, workdir)
    return report


def _errors(right, names, strengths):
    share = 1 - right.mean(axis=0)
    table = share[1:].reshape(len(names), len(strengths))
    by_corruption = {
        name: {str(strength): float(error) for strength, error in zip(strengths, row, strict=True)}
        for name, row in zip(names, table, strict=True)
    }
    return {
        "accuracy": 1 - float(share[0]),
        "error": float(share[0]),
        "errors": by_corruption,
        "mean_errors": errors.means(by_corruption),
        "mean_error": errors.mean_error(by_corruption),
    }


def save(report: Figures, workdir: PathLike) -> None:
    """Writes `robustness.json`. Raises UserError where it can't be written."""
    if jax.process_index() == 0:
        files.write_json(Path(workdir) / FILE, report)


def read(workdir: PathLike, like: Figures) -> Figures | None:
    """The report that an earlier measurement left in a workdir, if it is of the same pictures and noise; else None.

    Args:
      workdir: of another run.
      like: the report it is to be compared with, whose corruptions and strengths it must have.
    """
    report = files.read_json(Path(workdir) / FILE)
    try:
        same = all(report[key] == like[key] for key in ("split", "count", "limit", "seed", "data"))
        shared = {name: {s: report["errors"][name][s] for s in theirs} for name, theirs in like["errors"].items()}
    except (KeyError, TypeError):
        return None
    return {**report, "errors": shared} if same else None


def compare(report: Figures, baseline: Figures | None = None, name: str = "AlexNet") -> Figures:
    """A report with `baseline`: the errors by those of another report, or by AlexNet's published ones on ImageNet-C.

    Raises:
      UserError: for AlexNet's, where the pictures are not of 1,000 classes or some strengths are missing.
    """
    if baseline is None:
        complete = all(len(by_strength) == len(corrupt.STRENGTHS) for by_strength in report["errors"].values())
        if report["data"]["classes"] != 1000 or not complete:
            raise UserError("--baseline alexnet is for ImageNet's 1,000 classes at all five strengths.")
        ratios = errors.against(errors.means(report["errors"]), errors.ALEXNET)
    else:
        ours, theirs = (errors.means(each["errors"]) for each in (report, baseline))
        ratios = errors.against(ours, theirs, report["error"], baseline["error"])
    return {**report, "baseline": {"name": name, **ratios}}


def _drawn(source, options):
    """The source, or as many rows of it as are wanted, in order."""
    if not 0 < options.limit < len(source):
        return source
    rows = np.random.default_rng(options.seed).permutation(len(source))[: options.limit]
    return subset(source, np.sort(rows))


def _count_batches(feed, total, note):
    """Makes a feed tell how far it is, every ten seconds."""
    compiled, began, done, noted = feed.compiled, None, 0, 0.0

    def counted(*args):
        nonlocal began, done, noted
        out = jax.block_until_ready(compiled(*args))
        now, done = time.monotonic(), done + 1
        if began is None:
            began = noted = now  # the first batch compiles, and says nothing about the others
        elif now - noted > LINE_SECONDS and done < total:
            noted = now
            left = (now - began) / (done - 1) * (total - done)
            note(f"batch {done:,} of {total:,}, about {left / 60:.1f} minutes left")
        return out

    feed.compiled = counted
