"""Our Linen models as modules of Flax NNX, by its bridge (docs/python.md)."""

import jax
import numpy as np
from flax import nnx

from jaxcls import models


def test_a_model_is_a_module_of_nnx_with_the_same_answers():
    model = models.create("simple_cnn_16_32", num_classes=3)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
    variables = jax.jit(lambda key: model.init(key, images, train=False))(jax.random.key(0))
    module = nnx.bridge.ToNNX(model)
    for name, value in nnx.bridge.variables.linen_vars_to_nnx_attrs(variables).items():
        setattr(module, name, nnx.data(value))
    expected = jax.jit(lambda v, x: model.apply(v, x, train=False)[0])(variables, images)
    np.testing.assert_allclose(nnx.jit(lambda m, x: m(x, train=False)[0])(module, images), expected, atol=1e-5)
    ours = sorted(x.shape for x in jax.tree.leaves(variables["params"]))
    assert sorted(x.shape for x in jax.tree.leaves(nnx.state(module, nnx.Param))) == ours
