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
SHUFFLED = "shuffled"


def load(rest: str = "", data_dir: str | Path | None = None, seed: int = 0) -> dict[str, ArraySource]:
    """{"train": ..., "test": ...}: training clips of MNIST's training digits, and a quarter as many of its test digits.
    A clip is uint8 [8, 32, 32, 1]; the classes take turns.

    Args:
      rest: what stands behind `moving_digits/`: "4000" training clips, or "4000/shuffled", the frames of each in an
        order of its own, which leaves nothing to learn; "": 4,000.
      data_dir: where tensorflow-datasets keeps its sets.
      seed: of digits, places and rows.

    Raises:
      UserError: for a number that can't be, or where MNIST is not prepared.
    """
    count, slash, order = rest.partition("/")
    if rest and not (count.isdecimal() and len(CLASSES) <= int(count) <= MOST and order == SHUFFLED * bool(slash)):
        raise UserError(
            f"moving_digits/{rest}: write moving_digits/4000 or moving_digits/4000/{SHUFFLED}; the number of clips is "
            f"from {len(CLASSES)} to {MOST:,}."
        )
    digits = tfds_source.load("mnist", data_dir)
    n = int(count or USUAL)
    sizes = {"train": n, "test": max(len(CLASSES), n // 4)}
    return {
        split: made(digits[split].images, size, (seed, part), split, shuffled=bool(order))
        for part, (split, size) in enumerate(sizes.items())
    }


def made(digits: np.ndarray, count: int, seed: tuple[int, ...], split: str, *, shuffled: bool = False) -> ArraySource:
    """`count` clips of digits uint8 [n, 28, 28, 1], drawn by `seed`; ids are `<split>_<row>`."""
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
        if shuffled:
            clips[i] = clips[i, rng.permutation(FRAMES)]
    return ArraySource(clips, labels, CLASSES, [f"{split}_{row}" for row in range(count)])
