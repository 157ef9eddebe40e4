import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls.errors import UserError
from jaxcls.models import layers, pretrained
from jaxcls.models.layers.transformer import SCORES
from jaxcls.models.maxvit import MaxViT, PartitionAttention, resized_table

TINY = {"stage_sizes": (1,), "widths": (4,), "stem_width": 4, "head_features": 2, "window": 2, "hidden": 5}


@pytest.mark.parametrize("grid", [False, True])
def test_places_attend_to_those_of_their_part(grid):
    """By the gradient of one place of the answer."""
    dtypes = {"dtype": jnp.float32, "param_dtype": jnp.float32}
    dense = lambda x, c, name, **fields: layers.dense(x, c, name=name, **dtypes, **fields)  # noqa: E731
    part = PartitionAttention(2, 2, grid, SCORES[0], layers.layer_norm(**dtypes), dense, jnp.float32)
    x = np.random.default_rng(0).normal(size=(1, 4, 6, 4)).astype(np.float32)
    variables = part.init(jax.random.key(0), x)
    touched = np.abs(jax.grad(lambda x: part.apply(variables, x)[0, 0, 0].sum())(x)).sum((0, 3)) > 0
    want = np.zeros((4, 6), bool)
    want[np.ix_([0, 2], [0, 3]) if grid else np.ix_([0, 1], [0, 1])] = True
    np.testing.assert_array_equal(touched, want)


def test_weights_of_another_window_load(drawn):
    one, other = (MaxViT(**TINY | {"window": window}, num_classes=3) for window in (2, 4))
    state = pretrained.to_state_dict(drawn(one, 16, 16, 3))
    _, report = pretrained.load(other, drawn(other, 16, 16, 3), state)
    assert len(report.resized) == 2
    table = np.arange(2 * 9, dtype=np.float32).reshape(2, 3, 3)
    np.testing.assert_allclose(resized_table(table, (2, 3, 3)), table, atol=1e-5)


@pytest.mark.parametrize(
    "fields, shape, message",
    [
        ({}, (8, 12, 3), "multiples of 8 \\(window 2\\), not 8x12"),
        ({"widths": (5,)}, (8, 8, 3), "multiples of the features of a head, 2"),
        ({"padding": "valid"}, (8, 8, 3), "padding must be one of torch, same"),
    ],
)
def test_what_cannot_be_built_says_what_could(fields, shape, message, abstract):
    with pytest.raises(UserError, match=message):
        abstract(MaxViT(**TINY | fields), *shape)
