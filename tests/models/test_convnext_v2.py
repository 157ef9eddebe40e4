from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import pretrained
from jaxcls.models.convnext_v2 import ConvNeXtV2, ResponseNorm

TINY = {"depths": (1, 2), "widths": (4, 6), "num_classes": 3}
AUTHORS = {"stem.": "downsample_layers.0.", "stages.1.downsample.": "downsample_layers.1.", "head.norm.": "norm.",
           "head.fc.": "head.", ".blocks.": ".", "conv_dw": "dwconv", "mlp.fc": "pwconv",
           "mlp.grn.weight": "grn.gamma", "mlp.grn.bias": "grn.beta"}  # fmt: skip


def test_response_norm_is_the_papers():
    """Algorithm 1, with the mean over channels."""
    rng = np.random.default_rng(0)
    x, scale, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 3, 5, 4), (4,), (4,)))
    got = ResponseNorm(jnp.float32).apply({"params": {"scale": scale, "bias": bias}}, x)
    norms = np.sqrt((x.astype(np.float64) ** 2).sum((1, 2), keepdims=True))
    want = scale * (x * norms / (norms.mean(-1, keepdims=True) + 1e-6)) + bias + x
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_channel_of_zeros_has_a_gradient():
    x = jnp.ones((1, 2, 2, 3)).at[..., 0].set(0)
    params = {"scale": jnp.ones(3), "bias": jnp.zeros(3)}
    grad = jax.grad(lambda x: ResponseNorm(jnp.float32).apply({"params": params}, x).sum())(x)
    assert np.isfinite(grad).all()


def test_pictures_below_32x32_are_refused(abstract):
    with pytest.raises(UserError, match="ConvNeXt V2 takes pictures of 32x32 or larger, not 31x64"):
        abstract(models.create("convnextv2_atto"), 31, 64, 3)


def test_layers_of_blocks_are_convolutions_in_the_smaller_nets(drawn):
    """The same function: timm stores them otherwise."""
    dense, conv = (ConvNeXtV2(**TINY, conv_mlp=small) for small in (False, True))
    variables = drawn(dense, 32, 32, 3)
    loaded, report = pretrained.load(conv, drawn(conv, 32, 32, 3), pretrained.to_state_dict(variables))
    assert not report.kept and loaded["params"]["stages.0.blocks.0"]["mlp.fc1"]["kernel"].shape == (1, 1, 4, 16)
    image = np.random.default_rng(1).normal(size=(1, 32, 32, 3)).astype(np.float32)
    want, got = (jax.jit(partial(m.apply, train=False))(v, image)[0] for m, v in ((dense, variables), (conv, loaded)))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_weights_with_the_authors_names_load(drawn):
    model = ConvNeXtV2(**TINY)
    variables = drawn(model, 32, 32, 3)
    theirs = {}
    for name, value in pretrained.to_state_dict(variables).items():
        for ours, other in AUTHORS.items():
            name = name.replace(ours, other)
        theirs[name] = value[None, None, None] if ".grn." in name else value
    assert {"downsample_layers.0.0.weight", "stages.1.1.pwconv1.bias", "stages.0.0.grn.gamma", "head.bias"} <= {*theirs}
    loaded, report = pretrained.load(model, drawn(model, 32, 32, 3), theirs)
    assert not report.kept and not report.skipped
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)
