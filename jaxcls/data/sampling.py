"""Which rows make up an epoch: a Sampler is a pure function of (seed, epoch).

    uniform      every row once, in random order
    oversample   every class as often as the largest; an epoch is longer than the set
    balanced     every class equally often; an epoch is as long as the set
    sqrt         a class in proportion to the square root of its frequency; an epoch is as long as the set

Within a class the draws are whole repeats of its rows plus a random rest, so the numbers of times that two rows of a
class are drawn differ by one at most. With `repeats` k a batch holds each of its pictures k times, each with a draw of
its own, and so with an augmentation of its own.
"""

import functools
from collections.abc import Sequence

import numpy as np

from jaxcls.data import pipeline
from jaxcls.errors import UserError, did_you_mean

RULES = ("uniform", "oversample", "balanced", "sqrt")


class Sampler:
    """The order of every epoch, `sampler(seed, epoch, len(sampler))`: rows of the source, int32 [len(sampler)].

    It remembers nothing, so any step can be computed by itself (`pipeline.train_rows`), in any process.

    Args:
      labels: int [n], of the source; sets [n, classes] go with "uniform" alone.
      rule: one of RULES.
      repeats: k, how often a picture stands in its batch. Of an epoch of `uniform` with n draws that leaves n / k
        different pictures, others in every epoch. Source: Hoffer et al., Augment Your Batch: Better Training With
        Larger Batches, section 3; Berman et al., MultiGrain.
      batch_size: of the global batch.

    Raises:
      UserError: for a rule that does not exist (the nearest is named), or repeats that do not fit the batch.
    """

    def __init__(self, labels: np.ndarray, rule: str = "uniform", *, repeats: int = 1, batch_size: int = 1):
        if rule not in RULES:
            hint = did_you_mean(rule, RULES) or f"; it can be {', '.join(RULES)}."
            raise UserError(f"config.data.sampling is {rule!r}{hint}")
        if repeats > 1 and (batch_size % repeats or batch_size < 2 * repeats):
            raise UserError(
                f"config.data.repeats {repeats} needs a config.batch_size that is a multiple of {repeats} and holds at "
                f"least two pictures, such as {repeats * max(2, round(batch_size / repeats))}, not {batch_size}."
            )
        if np.ndim(labels) == 2 and rule != "uniform":
            raise UserError(
                f"config.data.sampling {rule!r} is of one class a picture, but the labels are sets; use 'uniform' and "
                "config.loss.class_weight='auto'."
            )
        self.rule, self.repeats, self.batch_size = rule, repeats, batch_size
        self.n = len(labels)
        if rule != "uniform":
            counts = np.unique(labels, return_counts=True)[1]
            self.rows = np.split(np.argsort(labels, kind="stable").astype(np.int32), np.cumsum(counts)[:-1])
            if rule == "oversample":
                self.n = len(self.rows) * int(counts.max())

    def __len__(self) -> int:
        return self.n

    def __call__(self, seed: int, epoch: int, n: int) -> np.ndarray:
        """The order of an epoch. `n` is the sampler's length; it stands here so that `pipeline.order` is a sampler."""
        return _order(self, seed, epoch)


@functools.lru_cache(maxsize=4)
def _order(sampler, seed, epoch):
    if sampler.rule == "uniform":
        order = pipeline.order(seed, epoch, sampler.n)
    else:
        random = pipeline.generator(seed, epoch, 0, 0)  # as nothing else: a view's last number is not 0
        counts = class_counts(random, [len(rows) for rows in sampler.rows], sampler.n, sampler.rule)
        drawn = [draw_rows(random, rows, count) for rows, count in zip(sampler.rows, counts, strict=True)]
        order = random.permutation(np.concatenate(drawn))
    return order if sampler.repeats == 1 else repeat(order, sampler.repeats, sampler.batch_size)


def class_counts(random: np.random.Generator, sizes: Sequence[int], n: int, rule: str) -> np.ndarray:
    """How often each class is drawn in an epoch: whole numbers whose sum is n.

    Shares that are no whole numbers are rounded up or down at random, so that their mean over epochs is exact.

    Args:
      random: numpy generator.
      sizes: number of rows of each class.
      n: draws in an epoch.
      rule: "oversample" or "balanced": equal shares; "sqrt": in proportion to the square root of the size.
    """
    shares = np.sqrt(sizes) if rule == "sqrt" else np.ones(len(sizes))
    # Systematic sampling: the classes lie one after the other on [0, n], and every point u, u + 1, ... draws one.
    order = random.permutation(len(sizes))
    ends = n * np.cumsum(shares[order]) / shares.sum()
    ends[-1] = n
    points = np.floor(ends + random.random()).astype(np.int64)
    points[-1] = n
    counts = np.empty(len(sizes), np.int64)
    counts[order] = np.diff(points, prepend=0)
    return counts


def draw_rows(random: np.random.Generator, rows: np.ndarray, count: int) -> np.ndarray:
    """`count` of the rows: all of them as often as they fit in, and a random rest without repetition."""
    whole, rest = divmod(count, len(rows))
    return np.concatenate([np.tile(rows, whole), random.permutation(rows)[:rest]])


def repeat(order: np.ndarray, repeats: int, batch_size: int) -> np.ndarray:
    """Every batch of the order as `repeats` copies of the pictures that it begins with.

    Copies follow one another as wholes (a b c a b c), so that the neighbours 2i and 2i+1, which MixUp and CutMix pair,
    are different draws of the order. The first 1/repeats of the order is used, without the tail that fills no batch.
    """
    steps, different = len(order) // batch_size, batch_size // repeats
    pictures = order[: steps * different].reshape(steps, 1, different)
    return np.broadcast_to(pictures, (steps, repeats, different)).reshape(-1)


class TwoParts(Sampler):
    """Batches of pictures with labels and, for each of them, `ratio` without: every share and micro-batch has as many.

    An epoch is one pass over the rows without a label (less the tail that fills no batch); those with one are gone
    through as often as that takes, in another order each time. A batch is made of blocks of 2 * parts rows with labels
    and 2 * parts * ratio without: cut into micro-batches (step.split_batch) each of these is made of blocks of 2 and
    2 * ratio.

    Args:
      labels: int [n], of the source; those below 0 are none.
      ratio: rows without a label for each with one.
      batch_size: of the global batch, both kinds together.
      parts: micro-batches.

    Raises:
      UserError: for a batch that is not made of such blocks, or has more rows without a label than there are; without
        any label.
    """

    def __init__(self, labels: np.ndarray, ratio: int, *, batch_size: int, parts: int = 1):
        unit = 2 * parts * (1 + ratio)
        if batch_size % unit:
            raise UserError(
                f"config.batch_size {batch_size} can't be divided by {unit}: config.few.ratio={ratio} pictures without "
                f"a label for each with one, in pairs{', in every micro-batch' if parts > 1 else ''}; try "
                f"{max(1, round(batch_size / unit)) * unit}."
            )
        self.rule, self.repeats, self.batch_size, self.ratio, self.parts = "two_parts", 1, batch_size, ratio, parts
        self.own, self.bare = (np.flatnonzero(mask).astype(np.int32) for mask in (labels >= 0, labels < 0))
        if not len(self.own):
            raise UserError("config.few.method learns from a few labels, and no training picture has one; label some.")
        each = batch_size // (1 + ratio)  # with labels
        self.steps = len(self.bare) // (each * ratio)
        if not self.steps:
            raise UserError(
                f"config.batch_size {batch_size} takes {each * ratio} pictures without a label, and there are "
                f"{len(self.bare):,}; make it smaller, or lower config.few.ratio={ratio}."
            )
        self.n = self.steps * batch_size

    def __call__(self, seed: int, epoch: int, n: int) -> np.ndarray:
        """The order of an epoch."""
        return _two_parts(self, seed, epoch)


@functools.lru_cache(maxsize=4)
def _two_parts(sampler, seed, epoch):
    random = pipeline.generator(seed, epoch, 0, 0)
    bare = random.permutation(sampler.bare)[: sampler.n // (1 + sampler.ratio) * sampler.ratio]
    wanted = len(bare) // sampler.ratio
    passes = [random.permutation(sampler.own) for _ in range(-(-wanted // len(sampler.own)))]
    own, width = np.concatenate(passes)[:wanted], 2 * sampler.parts
    blocks = [own.reshape(-1, width), bare.reshape(-1, width * sampler.ratio)]
    return np.concatenate(blocks, axis=1).reshape(-1)
