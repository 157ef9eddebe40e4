"""The alternating flip (Mirror and its merging: test_spatial.py)."""

import functools

import jax
import numpy as np

from jaxcls.augment import flips
from jaxcls.augment.base import Context


@functools.cache
def compiled(seed):
    return jax.jit(flips.alternating_flip(context=Context(seed=seed)))


def mirrored(epoch, index, seed=0):
    """Which of the pictures of these rows are mirrored in an epoch."""
    images = np.random.default_rng(0).integers(0, 256, (len(index), 2, 3, 1), dtype=np.uint8)
    batch = {"image": images, "index": index, "epoch": np.full(len(index), epoch, np.int32)}
    out = np.asarray(compiled(seed)(None, batch)["image"])
    assert out.dtype == np.uint8
    flipped, same = (np.all(out == x, axis=(1, 2, 3)) for x in (images[:, :, ::-1], images))
    assert np.all(flipped ^ same)
    return flipped


def test_every_picture_alternates_and_half_of_them_are_mirrored_in_each_epoch():
    index = np.arange(1000, dtype=np.int32)
    epochs = np.array([mirrored(epoch, index) for epoch in range(4)])
    assert np.all(epochs[1:] != epochs[:-1])
    assert np.all(np.abs(epochs.mean(1) - 0.5) < 0.05)
    assert 0.4 < np.mean(epochs[0] != mirrored(0, index, seed=1)) < 0.6


def test_the_row_decides_and_not_its_place_in_the_batch():
    index = np.arange(64, dtype=np.int32)
    order = np.random.default_rng(0).permutation(64)
    np.testing.assert_array_equal(mirrored(0, index)[order], mirrored(0, index[order]))
