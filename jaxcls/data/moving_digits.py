"""Clips of a digit that moves, whose class is how: what no single frame tells, nor all of them without their order.

A digit of MNIST lies on a ring as wide as the picture, 32 pixels, and moves along it: leaving at one side it comes back
at the other. Eight frames, 4 pixels a step, take it once round, so every clip shows the same eight places, once each;
by the order alone they are told apart:

    left, right               one place a frame
    left fast, right fast     three places a frame (3 and 8 have no common divisor, so it comes to all of them, too)

Where it begins, and its row, are drawn evenly. Therefore one frame is as likely under each class, and so are the frames
as a set: a net that sees them one by one and averages, or in another order, can't do better than one in four. (Of up
and down beside left and right that would not hold: the frames of a clip show along which axis it moved.)
"""

from pathlib import Path

import numpy as np

from jaxcls.data import tfds_source
from jaxcls.data.base import ArraySource
from jaxcls.errors import UserError

CLASSES = ("left", "right", "left fast", "right fast")
STEPS = (-1, 1, -3, 3)  # places a frame
FRAMES, SIDE, PIXELS = 8, 32, 4
USUAL, MOST = 4000, 50_000  # clips


def load(count: str = "", data_dir: str | Path | None = None, seed: int = 0) -> dict[str, ArraySource]:
    """{"train": ..., "test": ...}: as many training clips as `count` says (4,000), of MNIST's training digits, and a
    quarter as many of its test digits. A clip is uint8 [8, 32, 32, 1]; the classes take turns.

    Args:
      count: of training clips, as text: what stands behind `moving_digits/`.
      data_dir: where tensorflow-datasets keeps its sets.
      seed: of digits, places and rows.

    Raises:
      UserError: for a count that is none, or where MNIST is not prepared.
    """
    if count and not (count.isdecimal() and len(CLASSES) <= int(count) <= MOST):
        raise UserError(f"moving_digits/{count}: the number of clips is from {len(CLASSES)} to {MOST:,}, such as 4000.")
    digits = tfds_source.load("mnist", data_dir)
    n = int(count or USUAL)
    sizes = {"train": n, "test": max(len(CLASSES), n // 4)}
    return {
        split: made(digits[split].images, size, (seed, part), split) for part, (split, size) in enumerate(sizes.items())
    }


def made(digits: np.ndarray, count: int, seed: tuple[int, ...], split: str) -> ArraySource:
    """`count` clips of digits uint8 [n, 28, 28, 1], each drawn by `seed`."""
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
    which = rng.permutation(np.arange(count) % len(digits))
    places, rows = rng.integers(0, FRAMES, count), rng.integers(0, SIDE, count)
    labels = np.arange(count, dtype=np.int32) % len(CLASSES)
    margin = (SIDE - digits.shape[1]) // 2
    clips = np.empty((count, FRAMES, SIDE, SIDE, 1), np.uint8)
    for i in range(count):
        picture = np.roll(np.pad(digits[which[i]], [(margin, margin), (margin, margin), (0, 0)]), rows[i], axis=0)
        for t in range(FRAMES):
            clips[i, t] = np.roll(picture, PIXELS * (places[i] + STEPS[labels[i]] * t), axis=1)
    return ArraySource(clips, labels, CLASSES, [f"{split}_{row}" for row in range(count)])
