from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.layers.attention import eca_size, squeezed_features
from jaxcls.models.pretrained import from_state_dict, to_state_dict


class Net(nn.Module):
    """An attention block on its own."""

    kind: str

    @nn.compact
    def __call__(self, x):
        kinds = {"dtype": x.dtype, "param_dtype": jnp.float32}
        norm = layers.batch_norm(train=False, **kinds)
        return layers.attention(x, self.kind, conv=partial(layers.conv, **kinds), norm=norm, name="se", **kinds)


# The state dicts of timm's blocks for 64 channels.
NAMES = {
    "se": {"fc1.weight": (8, 64, 1, 1), "fc1.bias": (8,), "fc2.weight": (64, 8, 1, 1), "fc2.bias": (64,)},
    "eca": {"conv.weight": (1, 1, 3)},
    "cbam": {
        "channel.fc1.weight": (4, 64, 1, 1),
        "channel.fc2.weight": (64, 4, 1, 1),
        "spatial.conv.conv.weight": (1, 2, 7, 7),
        "spatial.conv.bn.weight": (1,),
        "spatial.conv.bn.bias": (1,),
        "spatial.conv.bn.running_mean": (1,),
        "spatial.conv.bn.running_var": (1,),
    },
}


@pytest.mark.parametrize("kind", NAMES)
def test_names_and_shapes_are_timms(kind):
    variables = jax.eval_shape(Net(kind).init, jax.random.key(0), jnp.zeros((1, 2, 2, 64)))
    state = to_state_dict(jax.tree.map(lambda leaf: np.zeros(leaf.shape), variables))
    assert {key.removeprefix("se."): value.shape for key, value in state.items()} == NAMES[kind]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gated(kind, x, state):
    """The block in NumPy, on a picture `[h, w, c]`."""
    mean, weights = x.mean((0, 1)), {key: value.squeeze() for key, value in state.items()}
    if kind == "se":
        y = np.maximum(weights["fc1.weight"] @ mean + weights["fc1.bias"], 0)
        return x * sigmoid(weights["fc2.weight"] @ y + weights["fc2.bias"])
    if kind == "eca":
        return x * sigmoid(np.correlate(np.pad(mean, 1), weights["conv.weight"]))
    each = [weights["channel.fc2.weight"] @ np.maximum(weights["channel.fc1.weight"] @ pooled, 0)
            for pooled in (mean, x.max((0, 1)))]  # fmt: skip
    x = x * sigmoid(sum(each))
    pooled = np.pad(np.stack([x.mean(-1), x.max(-1)]), ((0, 0), (3, 3), (3, 3)))
    kernel = weights["spatial.conv.conv.weight"]
    norm = {key.rpartition(".")[2]: value for key, value in weights.items() if ".bn." in key}
    places = np.array([[(pooled[:, i : i + 7, j : j + 7] * kernel).sum() for j in range(x.shape[1])]
                       for i in range(x.shape[0])])  # fmt: skip
    places = (places - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-5) * norm["weight"] + norm["bias"]
    return x * sigmoid(places)[..., None]


@pytest.mark.parametrize("kind", NAMES)
def test_gates_by_hand(kind):
    rng = np.random.default_rng(0)
    state = {key: rng.normal(size=shape) * 0.3 for key, shape in NAMES[kind].items()}
    state |= {key: np.abs(value) + 0.5 for key, value in state.items() if key.endswith("var")}
    x = rng.normal(size=(2, 5, 4, 64))
    model, images = Net(kind), jnp.asarray(x, jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    variables = from_state_dict({f"se.{key}": value for key, value in state.items()}, variables)
    got = jax.jit(model.apply)(variables, images)
    np.testing.assert_allclose(got, [gated(kind, one, state) for one in x], rtol=1e-4, atol=1e-5)


def test_the_squeeze_of_se_has_biases_as_pytorch_draws_them_and_elsewhere_zeros():
    x = jnp.zeros((1, 1, 1, 64))
    params = jax.jit(Net("se").init)(jax.random.key(0), x)["params"]["se"]
    for name, fan_in in (("fc1", 64), ("fc2", 8)):
        largest = np.abs(params[name]["bias"]).max()
        assert 0.5 * fan_in**-0.5 < largest <= fan_in**-0.5
    params = jax.jit(layers.SqueezeExcite(8, layers.conv).init)(jax.random.key(0), x)["params"]
    assert not params["fc1"]["bias"].any() and not params["fc2"]["bias"].any()


@pytest.mark.parametrize("channels, size", [(8, 3), (64, 3), (128, 5), (512, 5), (1024, 5), (2048, 7)])
def test_size_of_the_kernel_of_eca_grows_with_the_logarithm(channels, size):
    assert eca_size(channels) == size


@pytest.mark.parametrize("channels, se, cbam", [(8, 8, 1), (24, 8, 2), (64, 8, 4), (192, 16, 12), (2048, 128, 128)])
def test_a_squeeze_has_about_a_sixteenth_of_the_features(channels, se, cbam):
    assert squeezed_features(channels, divisor=8) == se
    assert squeezed_features(channels, divisor=1) == cbam


def test_no_attention_and_an_unknown_one():
    x = jnp.ones((1, 2, 2, 4))
    assert Net("").init_with_output(jax.random.key(0), x)[1] == {}
    with pytest.raises(UserError, match="one of se, eca, cbam, .* not 'bam'"):
        Net("bam").init(jax.random.key(0), x)
