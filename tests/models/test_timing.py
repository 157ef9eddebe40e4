"""What the speed of a model is measured with."""

import jax
import numpy as np

from jaxcls import models
from jaxcls.models import timing


def test_random_variables_are_finite_and_of_use():
    model = models.create("resnet20_cifar", num_classes=10)
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    variables = timing.random_variables(model, images, np.random.default_rng(0))
    logits, _ = jax.jit(model.apply)(variables, images)
    assert 1e-3 < np.abs(logits).max() < 1e3
