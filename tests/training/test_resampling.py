"""Which resizer draws random crops is told, and so is a change of it."""

import types

import numpy as np
import pytest
from pictures import encode, noise

from jaxcls.augment import host, simd
from jaxcls.checkpoints import view
from jaxcls.checkpoints.meta import Meta
from jaxcls.training import resampling


def data(*operations):
    return types.SimpleNamespace(augmentation=types.SimpleNamespace(host=host.HostTransform(operations, 3)))


def crop(name):
    made = host.RandomResizedCrop(8, resample="bilinear")
    made.resample = name  # as "auto" resolves it where the package is installed, or is not
    return made


def stored(monkeypatch, **values):
    monkeypatch.setattr(view, "find_step", lambda _: "step")
    monkeypatch.setattr(view, "read_meta", lambda _: Meta(step=1, config={}, data=values))


def test_only_random_crops_have_a_resizer(tmp_path):
    assert resampling.used(data(host.Resize(8), host.CenterCrop(8))) is None
    assert resampling.used(types.SimpleNamespace(augmentation=None)) is None
    assert resampling.used(data(crop("fast"))) == "fast"
    assert list(resampling.lines(data(host.Resize(8)), tmp_path)) == []
    assert list(resampling.lines(data(crop("bilinear")), tmp_path)) == []


@pytest.mark.skipif(not simd.installed(), reason="cykooz-resizer is not installed")
def test_auto_is_told_at_the_start(tmp_path):
    made = data(host.RandomResizedCrop(8))
    (line,) = resampling.lines(made, tmp_path)
    assert line.startswith("random crops: resized by cykooz-resizer ") and resampling.used(made) == "bilinear-simd"
    assert made.augmentation.host(encode(noise()), "x", np.random.default_rng(0)).shape == (8, 8, 3)


@pytest.mark.parametrize("before, now, told", [
    ({"resample": "bilinear-simd"}, "bilinear", "by cykooz-resizer until now and are by Pillow"),
    ({"resample": "bilinear"}, "bilinear-simd", "by Pillow until now and are by cykooz-resizer"),
    ({}, "bilinear-simd", "by Pillow until now and are by cykooz-resizer"),  # a run that is older than the choice
    ({}, "fast", None),
    ({"resample": "bilinear"}, "bilinear", None),
    ({"resample": "bilinear-simd"}, "bilinear-simd", None),
])  # fmt: skip
def test_a_change_between_sessions_is_a_line(monkeypatch, before, now, told):
    monkeypatch.setattr(resampling.importlib.metadata, "version", lambda _: "4.0.1")
    stored(monkeypatch, **before)
    notes = [line for line in resampling.lines(data(crop(now)), "run") if line.startswith("note: ")]
    assert len(notes) == (told is not None) and all(told in line for line in notes)
