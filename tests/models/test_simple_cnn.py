import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError


def test_logits_by_hand():
    """With a kernel that passes the centre pixel on, the net is pool, pool, dense: done again in NumPy."""
    model = models.create("simple_cnn_16_32", num_classes=2)
    x = jax.random.uniform(jax.random.key(0), (2, 8, 8, 1))
    params = model.init(jax.random.key(1), x)["params"]
    for name in ("conv1", "conv2"):
        kernel = jnp.zeros_like(params[name]["kernel"]).at[1, 1, 0, 0].set(1)
        params[name] = {"kernel": kernel, "bias": jnp.zeros_like(params[name]["bias"])}
    logits, out = model.apply({"params": params}, x, train=False)
    pooled = np.asarray(x).reshape(2, 2, 4, 2, 4).max((2, 4))
    np.testing.assert_array_equal(out["stage2"][..., 0], pooled)
    assert not out["stage2"][..., 1:].any()
    first = params["fc1"]["kernel"][:4]  # channel 0 comes first, its pixels row by row
    hidden = np.maximum(pooled.reshape(2, 4) @ first + params["fc1"]["bias"], 0)
    np.testing.assert_allclose(logits, hidden @ params["fc2"]["kernel"] + params["fc2"]["bias"], rtol=1e-4, atol=1e-5)


def test_too_small_a_picture():
    model = models.create("simple_cnn_16_32", num_classes=2)
    with pytest.raises(UserError, match="4x4 or larger"):
        model.init(jax.random.key(0), jnp.zeros((1, 3, 8, 1)))
