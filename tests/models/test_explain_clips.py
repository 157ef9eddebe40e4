"""Grad-CAM of clips, over times and places, against its closed form."""

from typing import ClassVar

import jax
import numpy as np
from flax import linen as nn

from jaxcls import heatmaps
from jaxcls.models import explain
from jaxcls.models.base import Classifier


class MeanNet(Classifier, kw_only=True):
    """Features of each pixel of each frame, their mean, and a dense layer."""

    clips: ClassVar = True

    @nn.compact
    def __call__(self, images, *, train):
        x = nn.Dense(5, name="features")(images)
        return nn.Dense(self.num_classes, name="fc")(x.mean(axis=(1, 2, 3))), {"stage1": x}


def test_the_map_of_a_net_of_means_is_what_each_place_adds():
    """There the gradient is the same at all places, the kernel by their number."""
    model = MeanNet(num_classes=3)
    clips = np.random.default_rng(0).normal(size=(2, 4, 6, 5, 3)).astype(np.float32)
    variables = model.init(jax.random.key(0), clips, train=False)
    assert explain.method(model, clips.shape[1:]) == explain.GRAD_CAM
    maps = explain.heatmaps(model, variables, clips, np.array([2, 0]))
    params = variables["params"]
    features = clips @ params["features"]["kernel"] + params["features"]["bias"]
    for found, each, label in zip(maps, features, (2, 0), strict=True):
        expected = np.maximum(each @ params["fc"]["kernel"][:, label], 0)
        np.testing.assert_allclose(found, expected / expected.max(), rtol=1e-4, atol=1e-5)


def test_a_sheet_has_eight_frames_in_reading_order():
    clip = np.broadcast_to(np.arange(15, dtype=np.uint8)[:, None, None, None], (15, 3, 2, 1))
    sheet = heatmaps.sheet(clip)
    assert sheet.shape == (7, 11, 1)
    assert sheet[::4, ::3, 0].tolist() == [[0, 2, 4, 6], [8, 10, 12, 14]]
    assert (sheet[3] == 255).all() and heatmaps.sheet(np.zeros((2, 3, 4))).shape == (3, 9)
