"""The field `scores`: in what the scores of attention are computed."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.swin import Swin
from jaxcls.models.vit import ViT

VIT = partial(ViT, patch=4, width=8, depth=1, heads=2, num_classes=3)
SWIN = partial(Swin, depths=(2,), width=8, heads=(2,), window_size=2, num_classes=3)
NETS = {"vit": VIT, "swin": SWIN, "swin_v2": partial(SWIN, version=2)}


def score_types(model, images):
    """The types that exponentials are taken of: those of softmaxes (and of small things in version 2)."""
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    text = str(jax.make_jaxpr(partial(model.apply, train=False))(shapes, images))
    exponentials = [line for line in text.splitlines() if " = exp " in line and line.count(",") == 3]
    return {line.split(":")[1].split("[")[0] for line in exponentials}


@pytest.mark.parametrize("name", NETS)
def test_scores_are_float32_unless_told_otherwise(name):
    images = jnp.zeros((2, 16, 16, 3), jnp.bfloat16)
    assert score_types(NETS[name](dtype=jnp.bfloat16), images) == {"f32"}
    assert score_types(NETS[name](dtype=jnp.bfloat16, scores="computation"), images) == {"bf16"}


@pytest.mark.parametrize("name", NETS)
def test_in_float32_both_are_the_same_and_in_bfloat16_close(name, drawn):
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 16, 3)), jnp.float32)
    variables = drawn(NETS[name](), 16, 16, 3)

    def program(**fields):
        return jax.jit(partial(NETS[name](**fields).apply, train=False)).lower(variables, images)

    assert program(scores="computation").as_text() == program().as_text()
    exact, half, all_half = (
        np.asarray(program(**fields).compile()(variables, images)[0])
        for fields in ({}, {"dtype": jnp.bfloat16}, {"dtype": jnp.bfloat16, "scores": "computation"})
    )
    for logits in (half, all_half):
        assert np.abs(logits - exact).max() < 0.05 * np.abs(exact).max()


def test_weights_in_the_type_of_the_computation_add_up_to_one():
    """To 2**-8 for each of them: the sum itself is float32."""
    qkv = jnp.asarray(np.random.default_rng(0).normal(size=(1, 500, 12)), jnp.bfloat16)
    _, weights = layers.attend(qkv, 2, "computation")
    assert weights.dtype == jnp.bfloat16
    np.testing.assert_allclose(weights.astype(jnp.float32).sum(-1), 1, atol=2**-8)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_t"])
def test_other_choices_are_refused(name):
    with pytest.raises(UserError, match="scores"):
        models.create(name, num_classes=3, scores="float16")
