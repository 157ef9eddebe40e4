"""The ONNX writer: what it writes answers as the network does, and is as small as it can be."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from draws import draw
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import CLIPS, TINY

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.export.writer import to_onnx
from jaxcls.models import layers
from jaxcls.models.published import PUBLISHED
from jaxcls.parallel import once

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
# At most so many Transposes for a tiny net: one a CNN, 4 a block of attention and one for the patches; the published
# nets are counted in the slow test below.
TRANSPOSES = {"vit": 18, "vit_torchvision": 18, "vit_registers": 18, "vit_clip": 18, "vit_map": 20, "eva02": 18,
              "dinov3": 18, "maxvit": 29, "mixer": 10, "swin": 14, "swin_v2": 12, "convnext": 7, "convnext_v2": 9,
              "vgg": 3, "inflated": 4}  # fmt: skip


def answers(model, images):
    """What ONNX Runtime answers."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images})[0]


def compiled(function, variables, images):
    return np.asarray(jax.jit(function, compiler_options=once())(variables, images))


def counts(model):
    return collections.Counter(node.op_type for node in model.graph.node)


def pictures(shape, n=3):
    return np.random.default_rng(0).integers(0, 256, (n, *shape)).astype(np.uint8)


def normalised(x):
    mean, std = (v[: x.shape[-1]] for v in (MEAN, STD))
    return (x.astype(jnp.float32) / 255 - mean) / std


# test_jax2onnx.py has one a family.
QUICK = {"resnetv2", "mobilenet_v3", "shufflenet", "vit", "swin_v2", "r2plus1d"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in TINY | CLIPS])
def test_every_family_answers_as_compiled(name):
    kind, fields, shape = (TINY | CLIPS)[name]
    model = kind(num_classes=3, **fields)
    variables = draw(jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape))), seed=1)
    function = lambda v, x: model.apply(v, normalised(x), train=False)[0]  # noqa: E731
    written = to_onnx(function, variables, shape)
    onnx.checker.check_model(written, full_check=True)
    want = compiled(function, variables, pictures(shape))
    got = answers(written, pictures(shape))
    np.testing.assert_allclose(got, want, rtol=0, atol=5e-6 * np.abs(want).max())
    np.testing.assert_allclose(answers(written, pictures(shape)[:1]), got[:1], rtol=0, atol=1e-5 * np.abs(want).max())
    assert counts(written)["Transpose"] <= TRANSPOSES.get(name, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in models.list_models() if name not in ("gcn", "gin", "gat")])
def test_every_model_is_written_loads_and_takes_any_batch(name):
    cifar = "cifar" in name or name == "airbench94"
    side = 28 if name.startswith("lenet") else 32 if cifar else 299 if name == "inception_v3" else 224
    shape = (side, side, 1 if name.startswith("lenet") else 3)
    shape = PUBLISHED[name].shape if PUBLISHED[name].frames else shape
    model = models.create(name, num_classes=10)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape)))
    if sum(leaf.size for leaf in jax.tree.leaves(shapes)) > 4e8:
        pytest.skip("takes more memory than a test should")
    written = to_onnx(lambda v, x: model.apply(v, normalised(x), train=False)[0], draw(shapes, seed=1), shape)
    two, one = answers(written, pictures(shape, 2)), answers(written, pictures(shape, 2)[1:])
    assert np.isfinite(two).all() and two.shape == (2, 10)
    np.testing.assert_allclose(one, two[1:], rtol=0, atol=1e-5 * np.abs(two).max())
    if not name.startswith(("vit", "deit", "mixer", "swin", "convnext", "eva", "maxvit")):
        assert counts(written)["Transpose"] <= 1


# Nodes that torch.onnx (2.14, dynamo, onnxscript 0.7.2) writes for torchvision's net, timm's for ViT.
TORCH = {"mobilenet_v3_large": (140, 0), "resnet18": (49, 0), "convnext_tiny": (230, 46), "swin_t": (720, 129),
         "vit_small_patch16_224": (455, 50)}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCH)
def test_published_nets_have_no_more_nodes_than_from_torch(name):
    model = models.create(name)
    variables = draw(jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3))), seed=1)
    written = to_onnx(lambda v, x: model.apply(v, normalised(x), train=False)[0], variables, (224, 224, 3))
    nodes, transposes = TORCH[name]
    found = counts(written)
    assert len(written.graph.node) <= nodes + 4  # transposed, cast, normalised, flattened: ours takes bytes
    assert found["Transpose"] <= max(transposes, 1)
    if name == "mobilenet_v3_large":
        assert (found["HardSwish"], found["HardSigmoid"], found["Gemm"]) == (21, 8, 2)
    if name == "vit_small_patch16_224":
        assert (found["Softmax"], found["Gelu"], found["LayerNormalization"]) == (12, 12, 25)


def test_batch_norm_and_scales_go_into_convolutions_with_one_dimensional_biases():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.BatchNorm(use_running_average=True)(nn.Conv(4, (3, 3))(x)) * 0.5
            x = jnp.mean(nn.relu(x), (1, 2))
            return nn.Dense(5)(x) * jnp.arange(1.0, 6.0)[None]

    variables = draw(jax.eval_shape(Net().init, jax.random.key(0), jnp.zeros((1, 8, 8, 3))), seed=2)
    function = lambda v, x: Net().apply(v, normalised(x))  # noqa: E731
    written = to_onnx(function, variables, (8, 8, 3))
    assert [node.op_type for node in written.graph.node] == [
        "Transpose", "Cast", "BatchNormalization", "Conv", "Relu", "GlobalAveragePool", "Reshape", "Gemm",
    ]  # fmt: skip
    shapes = {tensor.name: tuple(tensor.dims) for tensor in written.graph.initializer}
    conv, gemm = written.graph.node[3], written.graph.node[7]
    assert shapes[conv.input[2]] == (4,) and shapes[gemm.input[2]] == (5,)
    x = pictures((8, 8, 3))
    np.testing.assert_allclose(answers(written, x), compiled(function, variables, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "operators"),
    [
        (nn.hard_swish, {"HardSwish": 1}),
        (nn.hard_sigmoid, {"HardSigmoid": 1}),
        (nn.relu6, {"Clip": 1}),
        (layers.gelu, {"Gelu": 1}),
        (lambda x: nn.gelu(x, approximate=False), {"Erf": 1}),
        (lambda x: nn.gelu(x), {"Tanh": 1}),
        (lambda x: jnp.log1p(jnp.abs(x)), {"Log": 1}),
        (lambda x: layers.softmax(x) * 7, {"Softmax": 1}),
        (nn.silu, {"Sigmoid": 1, "Mul": 1}),
        (lambda x: jax.jit(hard_silu)(x), {"Mul": 1}),
    ],
    ids=[
        "hard_swish",
        "hard_sigmoid",
        "relu6",
        "gelu",
        "flax's exact gelu",
        "flax's gelu",
        "log1p",
        "softmax",
        "silu",
        "another function of such a name",
    ],
)
def test_activations_are_operators_by_name_and_program(function, operators):
    called = lambda _, x: function(x.astype(jnp.float32) - 128)  # noqa: E731
    written = to_onnx(called, {}, (7,))
    found = counts(written)
    assert {op: found[op] for op in operators} == operators and not found["HardSwish"] > operators.get("HardSwish", 0)
    x = pictures((7,))
    np.testing.assert_allclose(answers(written, x), called(None, x), rtol=1e-5, atol=1e-6)


def hard_silu(x):
    """Not what JAX means by the name."""
    return 3 * x


def test_max_pools_pad_themselves_behind_a_relu_only():
    def pooled(x):
        return nn.max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), (2, 2)).reshape(x.shape[0], -1)

    shifted = lambda x: x.astype(jnp.float32) - 128  # noqa: E731
    x = pictures((8, 8, 3))
    for function, pads in [(lambda _, x: pooled(nn.relu(shifted(x))), 0), (lambda _, x: pooled(shifted(x)), 1)]:
        written = to_onnx(function, {}, (8, 8, 3))
        assert counts(written)["Pad"] == pads
        np.testing.assert_array_equal(answers(written, x), function(None, x))


@st.composite
def chains(draw_):
    """(shape without the batch, functions) of random transposes, reshapes, reductions, slices and sums."""
    shape = tuple(draw_(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=2, max_size=3)))
    return shape, draw_(st.lists(st.integers(0, 10**6), min_size=1, max_size=6))


def moved(x, number):
    """One of several operations that move elements, by a number; the batch stays first."""
    kind, n = number % 7, number // 7
    rest = list(range(1, x.ndim))
    if kind == 0:
        order = np.random.default_rng(n).permutation(rest)
        return x.transpose(0, *map(int, order))
    if kind == 1:  # merge two neighbours
        at = 1 + n % max(1, x.ndim - 2)
        merged = (*x.shape[:at], -1, *x.shape[at + 2 :]) if x.ndim > 2 else x.shape
        return jnp.reshape(x, (x.shape[0], *merged[1:]) if x.ndim > 2 else (x.shape[0], 1, x.shape[1]))
    if kind == 2:  # split one
        at = 1 + n % (x.ndim - 1)
        parts = next((d for d in (2, 3) if x.shape[at] % d == 0), 1)
        return jnp.reshape(x, (*x.shape[:at], x.shape[at] // parts, parts, *x.shape[at + 1 :]))
    if kind == 3 and x.ndim > 2:
        at = 1 + n % (x.ndim - 1)
        return (jnp.mean if n % 2 else jnp.max)(x, axis=at, keepdims=bool(n % 3))
    if kind == 4:
        at = 1 + n % (x.ndim - 1)
        return jnp.concatenate([x, jnp.flip(x, at)], at)
    if kind == 5:
        at = 1 + n % (x.ndim - 1)
        return x[tuple([slice(None)] * at + [slice(n % x.shape[at], None)])]
    constant = np.random.default_rng(n).normal(size=x.shape[1:]).astype(np.float32)
    return x * constant[None] + jnp.mean(x, axis=-1, keepdims=True)


@settings(max_examples=40, deadline=None)
@given(chains())
def test_whatever_moves_elements_leaves_them_where_jax_does(chain):
    shape, numbers = chain

    def function(_, x):
        x = x.astype(jnp.float32)
        for number in numbers:
            x = moved(x, number)
        return jnp.reshape(x, (x.shape[0], -1))

    x = pictures(shape)
    with jax.disable_jit():
        want = np.asarray(function(None, x))
    got = answers(to_onnx(function, {}, shape), x)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-3)


def test_an_operation_without_a_rule_is_named_with_its_module():
    class Sorts(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jnp.sort(nn.Dense(4, name="head")(x), axis=-1)

    variables = draw(jax.eval_shape(Sorts().init, jax.random.key(0), jnp.zeros((1, 6))))
    with pytest.raises(UserError, match=r"operation 'sort' of Sorts can't be written"):
        to_onnx(lambda v, x: Sorts().apply(v, x.astype(jnp.float32)), variables, (6,))


def test_constants_may_be_the_same_for_every_picture_but_not_depend_on_their_number():
    def same(_, x):
        token = jnp.broadcast_to(jnp.arange(6.0).reshape(1, 2, 3), (x.shape[0], 2, 3))
        return x.astype(jnp.float32) + jnp.reshape(token, (x.shape[0], 6))

    x = pictures((6,))
    np.testing.assert_array_equal(answers(to_onnx(same, {}, (6,)), x), same(None, x))
    numbered = lambda _, x: x.astype(jnp.float32) + jnp.arange(x.shape[0])[:, None]  # noqa: E731
    with pytest.raises(UserError, match="depend on the number of pictures"):
        to_onnx(numbered, {}, (6,))


def test_a_pool_takes_a_side_of_one_pixel():
    pooled = lambda _, x: nn.max_pool(jnp.mean(x.astype(jnp.float32), 1, keepdims=True), (1, 2), (1, 2))[:, 0, :, 0]  # noqa: E731
    x = pictures((4, 6, 1))
    np.testing.assert_allclose(answers(to_onnx(pooled, {}, (4, 6, 1)), x), pooled(None, x), rtol=1e-6)


def test_views_and_loops_are_written_out():
    def function(_, x):
        x = x.astype(jnp.float32)
        same = x * 3
        views = jnp.stack([x, x[:, :, ::-1] * 2])
        views = jax.lax.map(lambda view: jnp.sum(view**2, (1, 2)) + jnp.max(same * 2, (1, 2)), views)
        return jnp.mean(views, 0)

    x = pictures((4, 5, 3))
    np.testing.assert_allclose(answers(to_onnx(function, {}, (4, 5, 3)), x), function(None, x), rtol=1e-5)
