import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models.pretrained import from_state_dict, to_state_dict


@pytest.fixture
def state_and_variables(abstract):
    variables = abstract(models.create("resnet20_cifar_b", num_classes=10), 32, 32, 3)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), variables)
    return to_state_dict(variables), variables


def test_round_trip(state_and_variables):
    state, variables = state_and_variables
    assert state["layer1.0.conv1.weight"].shape == (16, 16, 3, 3)
    assert state["linear.weight"].shape == (10, 64)
    assert {"bn1.running_mean", "bn1.running_var", "bn1.weight", "bn1.bias", "linear.bias"} < state.keys()
    again = from_state_dict(state, jax.tree.map(jnp.zeros_like, variables))
    assert jax.tree.structure(again) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_values_go_to_the_same_place_as_in_a_dense_layer_by_hand():
    weight, bias = np.arange(6.0).reshape(2, 3), np.array([1.0, -1.0])
    variables = {"params": {"fc": {"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(2)}}}
    got = from_state_dict({"fc.weight": weight, "fc.bias": bias}, variables)["params"]["fc"]
    x = np.array([1.0, 10.0, 100.0])
    np.testing.assert_allclose(x @ got["kernel"] + got["bias"], weight @ x + bias)


@given(st.lists(st.integers(1, 4), min_size=2, max_size=5))
def test_kernels_of_any_rank_begin_with_out_and_in(shape):
    kernel = np.random.default_rng(0).normal(size=shape)
    state = to_state_dict({"params": {"conv": {"kernel": kernel}}})
    index = tuple(size - 1 for size in shape)
    assert state["conv.weight"][(index[-1], index[-2], *index[:-2])] == kernel[index]
    assert state["conv.weight"].shape == (shape[-1], shape[-2], *shape[:-2])


def test_half_precision_weights_counters_prefix_and_other_collections(state_and_variables):
    state, variables = state_and_variables
    state = {f"module.{key}": value.astype(np.float16) for key, value in state.items()}
    state["module.bn1.num_batches_tracked"] = np.array(7)
    got = from_state_dict(state, {**variables, "quant": {"range": 3.0}})
    assert got["quant"] == {"range": 3.0}
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), got["params"], variables["params"]
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(got["params"])} == {jnp.dtype("float32")}


def test_every_key_that_does_not_fit_is_named(state_and_variables):
    state, variables = state_and_variables
    state["fc.weight"] = state.pop("linear.weight")
    state["conv1.weight"] = state["conv1.weight"][:, :1]
    state["linear.bias"] = np.float32(0)
    with pytest.raises(UserError) as error:
        from_state_dict(state, variables)
    message = str(error.value)
    assert "\n" not in message and "4 keys" in message
    assert "missing linear.weight" in message and "unexpected fc.weight" in message
    assert "conv1.weight has shape (16, 1, 3, 3) where the model has (16, 3, 3, 3)" in message
    assert "linear.bias has shape () where the model has (10,)" in message


def test_weights_of_another_architecture_give_a_short_error(state_and_variables):
    _, variables = state_and_variables
    with pytest.raises(UserError, match="and [0-9]+ more$"):
        from_state_dict({f"other{i}": np.zeros(1) for i in range(100)}, variables)
