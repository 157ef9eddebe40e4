"""Clips whose class only the order of their frames tells."""

import numpy as np
import pytest

from jaxcls.data import moving_digits, sources
from jaxcls.data.base import ArraySource, clips
from jaxcls.errors import UserError

DIGITS = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 1), np.uint8)


def places(clip):
    """How far each frame is moved to the right of the first, in places of 4 pixels."""
    rolled = [np.roll(clip[0], 4 * k, axis=1) for k in range(8)]
    return [next(k for k in range(8) if (rolled[k] == frame).all()) for frame in clip]


def test_a_class_is_a_step_on_a_ring_and_every_clip_shows_all_of_it():
    source = moving_digits.made(DIGITS, 80, (0, 0), "train")
    assert source.images.shape == (80, 8, 32, 32, 1) and clips(source)
    assert np.bincount(source.labels).tolist() == [20] * 4
    for clip, label in zip(source.images, source.labels, strict=True):
        step = moving_digits.STEPS[label]
        assert places(clip) == [step * t % 8 for t in range(8)]
        assert sorted(places(clip)) == list(range(8))  # so frames without their order tell nothing


def test_shuffled_clips_have_the_same_frames():
    plain, shuffled = (moving_digits.made(DIGITS, 12, (0, 0), "train", shuffled=x) for x in (False, True))
    assert len({tuple(places(clip)) for clip in shuffled.images}) > 4
    for clip, other in zip(plain.images[:1], shuffled.images[:1], strict=True):
        assert {frame.tobytes() for frame in clip} == {frame.tobytes() for frame in other}


def test_the_start_and_the_row_are_drawn_evenly():
    """Of each class by itself, in any frame: a point of light shows where it is."""
    point, n = np.zeros((1, 28, 28, 1), np.uint8), 3200
    point[0, 5, 7] = 255
    source = moving_digits.made(point, n, (1, 0), "train")
    row, column = np.unravel_index(source.images[:, 3].reshape(n, -1).argmax(axis=1), (32, 32))
    for label in range(4):
        for found, kinds, limit in ((row, 32, 61.1), (column // 4, 8, 24.3)):  # chi2 of 31 and 7, p = .001
            counts = np.bincount(found[source.labels == label], minlength=kinds)
            expected = n / 4 / kinds
            assert len(counts) == kinds and ((counts - expected) ** 2 / expected).sum() < limit
    assert moving_digits.made(point, n, (1, 0), "train").fingerprint == source.fingerprint


def test_by_name_it_has_a_quarter_for_the_test(monkeypatch):
    mnist = {
        x: ArraySource(DIGITS, np.zeros(40, int), ["0", "1"], [str(i) for i in range(40)]) for x in ("train", "test")
    }
    monkeypatch.setattr(moving_digits.tfds_source, "load", lambda name, data_dir: mnist)
    found = sources.find("moving_digits/16/shuffled", seed=3)
    assert {split: len(source) for split, source in found.items()} == {"train": 16, "test": 4}
    for wrong in ("moving_digits/2", "moving_digits/many", "moving_digits/16/", "moving_digits/16/sorted"):
        with pytest.raises(UserError, match=f"{wrong}: write moving_digits/4000 or") as caught:
            sources.find(wrong)
        assert "\n" not in str(caught.value)
