import jax
import numpy as np
import pytest

from jaxcls.errors import UserError
from jaxcls.models import pretrained
from jaxcls.models.eva import Eva
from jaxcls.models.layers import rotary

TINY = {"patch": 4, "width": 8, "depth": 1, "heads": 2, "hidden": 12, "num_classes": 3}
GRID = (3, 4)
ANGLES = {"pairs": rotary.index_angles(GRID, 8, GRID), "halves": rotary.centred_angles(GRID, 8)}


@pytest.mark.parametrize("layout", rotary.LAYOUTS)
def test_scores_depend_on_how_far_places_are_apart_alone(layout):
    """The same query and key at all places: pairs of places with one offset have one score."""
    rng = np.random.default_rng(0)
    q, k = (np.tile(rng.normal(size=8).astype(np.float32), (1, 1, 12, 1)) for _ in range(2))
    q, k = (np.asarray(rotary.rotate(x, ANGLES[layout], layout, 0))[0, 0] for x in (q, k))
    np.testing.assert_allclose(np.linalg.norm(q, axis=-1), np.linalg.norm(q[0]), rtol=1e-5)  # turned, not scaled
    scores, seen = q @ k.T, {}
    rows, columns = np.divmod(np.arange(12), 4)
    for i in range(12):
        for j in range(12):
            seen.setdefault((rows[i] - rows[j], columns[i] - columns[j]), []).append(scores[i, j])
    assert len(seen) == 5 * 7
    for same in seen.values():
        np.testing.assert_allclose(same, same[0], rtol=1e-4, atol=1e-5)
    assert np.ptp([same[0] for same in seen.values()]) > 0.1


def test_tokens_before_the_patches_are_not_turned():
    x = np.random.default_rng(0).normal(size=(1, 2, 14, 8)).astype(np.float32)
    turned = np.asarray(rotary.rotate(x, ANGLES["halves"], "halves", 2))
    np.testing.assert_array_equal(turned[:, :, :2], x[:, :, :2])
    assert np.abs(turned[:, :, 2:] - x[:, :, 2:]).max() > 0.1


def test_places_are_stretched_to_the_trained_grid():
    every_second = rotary.index_angles((4, 4), 8, (4, 4)).reshape(4, 4, -1)[::2, ::2].reshape(4, -1)
    np.testing.assert_allclose(rotary.index_angles((2, 2), 8, (4, 4)), every_second)


def test_weights_of_another_size_load(drawn):
    model = Eva(**TINY, table=True, trained=2)
    state = pretrained.to_state_dict(drawn(model, 12, 12, 3))
    _, report = pretrained.load(model, drawn(model, 8, 8, 3), state)
    assert list(report.resized) == ["pos_embed"]


@pytest.mark.parametrize("pool, rows", [("token", slice(0, 1)), ("mean", slice(3, None))])
def test_what_is_pooled(pool, rows, drawn):
    model = Eva(**TINY, registers=2, pool=pool)
    images = np.random.default_rng(0).normal(size=(2, 8, 12, 3)).astype(np.float32)
    _, out = jax.jit(model.apply)(drawn(model, 8, 12, 3), images)
    np.testing.assert_allclose(out["pre_logits"], np.asarray(out["stage4"])[:, rows].mean(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "fields, shape, message",
    [
        ({}, (8, 10, 3), "multiples of 4.*not 8x10"),
        ({"width": 12}, (8, 8, 3), "width 12 must be a multiple of four times the number of heads, 2"),
        ({"pool": "map"}, (8, 8, 3), "pool must be one of token, mean"),
        ({"mlp": "swiglu"}, (8, 8, 3), "mlp must be one of plain, gated, gated_norm"),
    ],
)
def test_what_cannot_be_built_says_what_could(fields, shape, message, abstract):
    with pytest.raises(UserError, match=message):
        abstract(Eva(**TINY | fields), *shape)
