import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import lenet


def sizes(variables):
    return {
        layer: sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))
        for layer, tree in variables["params"].items()
    }


def test_parameters_of_each_layer(abstract):
    variables = abstract(models.create("lenet5", num_classes=10), 28, 28, 1)
    want = {"conv1": 6 * 26, "conv2": 16 * 151, "fc1": 120 * 401, "fc2": 84 * 121, "fc3": 10 * 85}
    assert sizes(variables) == want


def test_parameters_of_each_published_layer(abstract):
    variables = abstract(models.create("lenet5_1998", num_classes=10), 32, 32, 1)
    assert sizes(variables) == {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48_120, "f6": 10_164}


def test_c3_table_is_the_published_one():
    assert len(lenet.C3_INPUTS) == 16
    assert sum(map(len, lenet.C3_INPUTS)) == 60
    groups = [set(map(frozenset, lenet.C3_INPUTS[a:b])) for a, b in ((0, 6), (6, 12), (12, 15), (15, 16))]
    runs = lambda n: {frozenset((start + i) % 6 for i in range(n)) for start in range(6)}  # noqa: E731
    assert groups[0] == runs(3)  # all six runs of three contiguous maps
    assert groups[1] == runs(4)
    assert groups[2] == {frozenset({i, i + 1, (i + 3) % 6, (i + 4) % 6}) for i in range(3)}  # two pairs, opposite
    assert groups[3] == {frozenset(range(6))}
    assert [sum(i in inputs for inputs in lenet.C3_INPUTS) for i in range(6)] == [10] * 6


def test_an_output_map_of_c3_sees_its_inputs_only():
    layer = lenet.SparseConv(jnp.float32, jnp.float32)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 5, 6)), jnp.float32)
    variables = layer.init(jax.random.key(0), x)
    jacobian = jax.jacobian(lambda x: layer.apply(variables, x)[0, 0, 0])(x)  # [16, 1, 5, 5, 6]
    seen = [tuple(np.flatnonzero(np.abs(row).max((0, 1, 2)))) for row in np.asarray(jacobian)]
    assert seen == list(lenet.C3_INPUTS)
    kernel = variables["params"]["kernel"]
    first = sum((x[0, :, :, i] * kernel[:, :, i]).sum() for i in range(3)) + variables["params"]["bias"][0]
    np.testing.assert_allclose(layer.apply(variables, x)[0, 0, 0, 0], first, rtol=1e-5)


def test_prototypes_are_ten_distinct_pictures_of_7x12():
    digits = lenet.prototypes()
    assert digits.shape == (10, 84)
    assert set(np.unique(digits)) == {-1.0, 1.0}
    assert min((a != b).sum() for a, b in itertools.combinations(digits, 2)) >= 6
    one = digits[1].reshape(12, 7)
    assert (one[:, 3] == 1).all() and (one[:-1, 4:] == -1).all()  # a stem on a foot


def test_published_logits_are_minus_the_squared_distance_to_the_prototypes():
    model = models.create("lenet5_1998", num_classes=10)
    x = jax.random.normal(jax.random.key(1), (3, 32, 32, 1))
    logits, out = model.apply(model.init(jax.random.key(0), x), x, train=False)
    f6 = np.asarray(out["pre_logits"])
    want = [[-sum((a - b) ** 2 for a, b in zip(row, digit, strict=True)) for digit in lenet.prototypes()] for row in f6]
    np.testing.assert_allclose(logits, want, rtol=1e-5)
    assert np.abs(f6).max() <= 1.7159


def test_subsampling_sums_a_square():
    layer = lenet.Subsample(jnp.float32, jnp.float32)
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    got = layer.apply({"params": {"scale": jnp.array([2.0]), "bias": jnp.array([0.5])}}, x)
    np.testing.assert_allclose(got[0, :, :, 0], [[20.5, 36.5], [84.5, 100.5]])


def test_scaled_tanh_keeps_one():
    np.testing.assert_allclose(lenet.scaled_tanh(jnp.array([-1.0, 0.0, 1.0])), [-1, 0, 1], atol=1e-4)


@pytest.mark.parametrize("name", ["lenet5", "lenet5_1998"])
def test_sizes(name):
    model = models.create(name, num_classes=10)
    x = jax.random.normal(jax.random.key(1), (2, 28, 28, 1))
    variables = model.init(jax.random.key(0), x)
    padded = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    np.testing.assert_array_equal(model.apply(variables, x)[0], model.apply(variables, padded)[0])
    with pytest.raises(UserError, match="28x28 or 32x32, not 8x8"):
        model.apply(variables, x[:, :8, :8])


def test_published_initialisation_stays_within_its_bounds():
    model = models.create("lenet5_1998", num_classes=10)
    params = model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)))["params"]
    assert 0.9 * 2.4 / 120 < np.abs(params["f6"]["kernel"]).max() <= 2.4 / 120
    c3 = np.abs(params["c3"]["kernel"])
    assert c3[..., :18].max() <= 2.4 / 75  # the first six maps have three inputs, the last has six
    assert 0.9 * 2.4 / 150 < c3[..., -6:].max() <= 2.4 / 150


@pytest.mark.parametrize(
    "name, left", [("lenet5", {"conv1", "conv2", "fc1"}), ("lenet5_1998", {"c1", "s2", "c3", "s4", "c5"})]
)
def test_without_classes_c5_is_left(name, left, abstract, shapes):
    model = models.create(name, num_classes=0)
    assert abstract(model, 32, 32, 1)["params"].keys() == left
    got = shapes(model, 32, 32, 1)
    assert got["logits"] == got["pre_logits"] == got["stage3"] == (120,)


@pytest.mark.parametrize("name", ["lenet5", "lenet5_1998"])
def test_dropout_acts_in_training_only(name, drawn):
    model, x = models.create(name, num_classes=10, dropout=0.5), jnp.ones((1, 32, 32, 1))
    variables = drawn(model, 32, 32, 1)
    call = lambda seed, train: model.apply(variables, x, train=train, rngs={"dropout": jax.random.key(seed)})  # noqa: E731
    (a, out), (b, again) = call(0, True), call(1, True)
    assert (a != b).any()
    np.testing.assert_array_equal(out["pre_logits"], again["pre_logits"])
    np.testing.assert_array_equal(call(0, False)[0], call(1, False)[0])
