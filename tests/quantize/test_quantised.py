"""A model that rounds to 8 bits, in training and as a file."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from draws import draw
from fixtures.toys import ConvNet, make_batch
from flax import linen as nn
from jax import lax
from tiny_models import TINY

from jaxcls import optim
from jaxcls import state as train_state
from jaxcls.errors import UserError
from jaxcls.export import trained
from jaxcls.export.writer import to_onnx
from jaxcls.optim import schedules
from jaxcls.parallel import Parallel
from jaxcls.pytree import flatten_names
from jaxcls.quantize import build, fake, places
from jaxcls.quantize.quantised import Quantised, traced
from jaxcls.tasks.supervised import Supervised
from jaxcls.training.step import make_train_step


class Net(nn.Module):
    """A convolution, BatchNorm, dropout, a sum, a product."""

    num_classes: int = 3
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, *, train):
        y = nn.Conv(4, (3, 3), use_bias=False, name="conv")(x)
        y = nn.relu(nn.BatchNorm(use_running_average=not train, name="bn")(y))
        y = nn.Dropout(0.5, deterministic=not train)(y)
        return nn.Dense(self.num_classes, name="fc")((y + x).mean((1, 2))), {}


class Linear(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(2, name="fc", use_bias=False)(x.reshape(len(x), -1)), {}


def zeros(shapes):
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def tiny(name):
    """(model, shape of a picture) of a family at small fields."""
    kind, fields, shape = TINY[name]
    return kind(num_classes=3, **fields), shape


def test_gradients_of_a_product_are_those_of_rounded_inputs():
    """y = x w: dw = round(x)' c; dx = c round(w)' within the range, and beyond it nothing."""
    model, rng = Quantised(Linear()), np.random.default_rng(0)
    x, c = rng.normal(0, 1, (5, 1, 1, 3)).astype(np.float32), rng.normal(0, 1, (5, 2)).astype(np.float32)
    w = rng.normal(0, 1, (3, 2)).astype(np.float32)
    ranges = {"Linear": {"fc": {"input": jnp.array([-0.7, 1.0])}}}

    def loss(w, x):
        answer = model.apply({"params": {"fc": {"kernel": w}}, "quant": ranges}, x, train=False)
        return (answer[0] * c).sum()

    dw, dx = jax.grad(loss, (0, 1))(w, x)
    scale = np.float32(1.7) / 255
    q = np.clip(np.round(x / scale) + round(0.7 / scale), 0, 255) - round(0.7 / scale)
    steps = np.abs(w).max(0) / 63
    np.testing.assert_allclose(dw, (q * scale).reshape(5, 3).T @ c, rtol=1e-5)
    inside = np.abs(q * scale - x).reshape(5, 3) <= 0.51 * scale
    np.testing.assert_allclose(dx.reshape(5, 3), inside * (c @ (np.round(w / steps) * steps).T), rtol=1e-4, atol=1e-6)
    assert 0 < inside.sum() < inside.size


def test_a_training_pass_is_the_module_with_rounding_in_it():
    """Written out by hand: which tensors, BatchNorm with the batch's statistics of the rounded convolution, dropout as
    the module draws it, ranges of what dropout takes from."""
    net, x = Net(), jax.random.normal(jax.random.key(1), (4, 6, 6, 4))
    model, rngs = Quantised(net), {"dropout": jax.random.key(2)}
    variables = model.init(jax.random.key(0), x, train=False)
    assert sorted(flatten_names(variables["quant"])) == ["Net/conv/input", "Net/fc/input", "Net/input", "Net/input2"]
    (logits, _), moved = model.apply(variables, x, train=True, rngs=rngs, mutable=["batch_stats", "quant"])
    params = variables["params"]

    def rounded(x):
        return fake.rounded(x, *fake.grid(fake.moved(jnp.zeros(2), x)))

    kernel = fake.kernel(params["conv"]["kernel"], (0, 1, 2), 63)
    y = lax.conv_general_dilated(rounded(x), kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    mean, var = y.mean((0, 1, 2)), y.var((0, 1, 2))
    z = nn.relu((y - mean) / jnp.sqrt(var + 1e-5))
    (_, _), seen = net.apply(
        {"params": params, "batch_stats": variables["batch_stats"]}, x, train=True, rngs=rngs,
        mutable=["batch_stats", "intermediates"], capture_intermediates=lambda kind, _: isinstance(kind, nn.Dropout),
    )  # fmt: skip
    dropped = seen["intermediates"]["Dropout_0"]["__call__"][0] == 0
    z = jnp.where(dropped, 0, 2 * rounded(z))
    want = rounded(z + rounded(x)).mean((1, 2))
    want = rounded(want) @ fake.kernel(params["fc"]["kernel"], (0,), 63)
    np.testing.assert_allclose(logits, want, rtol=1e-4, atol=2e-3)
    np.testing.assert_allclose(moved["batch_stats"]["bn"]["mean"], 0.01 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moved["quant"]["Net"]["input"][1], z.max() / 2, rtol=0.01)


CNNS = sorted(set(TINY) - {"swin", "swin_v2", "mixer", "eva02", "dinov3", "maxvit"})
CNNS = [name for name in CNNS if not name.startswith("vit")]
QUICK = {"googlenet", "squeezenet", "mobilenet_v3", "preact_resnet"}


@pytest.mark.parametrize("name", [x if x in QUICK else pytest.param(x, marks=pytest.mark.slow) for x in CNNS])
def test_training_and_inference_round_at_the_same_places(name):
    kind, fields, shape = TINY[name]
    fields = {**fields, **({"dropout": 0.5} if "dropout" in fields else {})}
    model = kind(num_classes=3, **fields)
    images, key = jax.ShapeDtypeStruct((2, *shape), jnp.float32), jax.eval_shape(lambda: jax.random.key(0))
    variables = jax.eval_shape(lambda key, x: model.init(key, x, train=False), key, images)
    found = [
        places.find(traced(model, variables, images, {"dropout": key}, train=train, mutable=["batch_stats"])[0])
        for train in (False, True)
    ]
    assert list(found[0].names.values()) == list(found[1].names.values())
    kernels = sum(name.endswith("kernel") for name in flatten_names(variables["params"]))
    assert len(found[0].kernels) == len(found[1].kernels) == kernels


FILES = ("mobilenet_v2", "lenet5", "resnet_basic", "resnet_cifar_a", "densenet", "squeezenet", "shufflenet",
         "googlenet", "mobilenet_v3", "efficientnet", "vgg", "inception")  # fmt: skip


@pytest.mark.parametrize("name", [FILES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in FILES[1:])])
def test_the_file_is_the_model(name):
    """With biases in float and before operators are fused, to rounding in float32 for most answers: a sum on the edge
    between two levels may fall to either. As it is, the input of the last product a level off at most."""
    onnxruntime, numpy_helper = (pytest.importorskip(name) for name in ("onnxruntime", "onnx.numpy_helper"))
    (module, shape), rng = tiny(name), np.random.default_rng(0)
    model, x = Quantised(module), rng.normal(0, 1, (8, *shape)).astype(np.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    variables = {**draw({k: shapes[k] for k in shapes if k != "quant"}, seed=1), "quant": zeros(shapes["quant"])}

    def learn(variables, x):
        state = [key for key in variables if key != "params"]
        _, new = model.apply(variables, x, train=True, mutable=state, rngs={"dropout": jax.random.key(0)})
        return {"params": variables["params"], **new}

    def answer(variables, x):
        return model.apply(variables, x, train=False)[0]

    variables = jax.device_get(jax.jit(learn)(variables, x))
    want = np.asarray(jax.jit(answer)(variables, x))
    program = to_onnx(answer, variables, shape, dtype=np.float32, metadata={"classes": "all", "precision": "float32"})
    biases = {n.output[0]: n.input[2] for n in program.graph.node if n.op_type in ("Conv", "Gemm") and len(n.input) > 2}
    floats = [tensor for tensor in program.graph.initializer if tensor.name in biases.values()]
    made = trained.int8(program, model.levels)
    assert {each.key: each.value for each in made.metadata_props} == {"classes": "all", "precision": "int8"}
    layers = [node for node in made.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    source = {node.output[0]: node for node in made.graph.node if node.op_type == "DequantizeLinear"}
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    integers = sum(
        node.input[1] in source and arrays[source[node.input[1]].input[0]].dtype == np.int8 for node in layers
    )
    assert integers == sum(name.endswith("kernel") for name in flatten_names(variables["params"]))
    kernel, last = source[layers[-1].input[1]], layers[-1].input[0]
    made_by = {node.output[0]: node for node in made.graph.node}
    while (last := made_by[last] if isinstance(last, str) else last).op_type != "DequantizeLinear":
        last = last.input[0]
    weights = np.abs(arrays[kernel.input[0]].astype(np.float32))
    weights = weights if layers[-1].op_type != "Conv" else weights.sum((2, 3)).T
    level = arrays[last.input[1]] * (weights * arrays[kernel.input[1]]).sum(0)

    def ask(level):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level, options.intra_op_num_threads = level, 1
        return onnxruntime.InferenceSession(made.SerializeToString(), options).run(None, {"image": x})[0]

    apart = np.abs(ask(onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL) - want)
    assert (apart <= level).all()
    for node in layers:
        if node.output[0] in biases:
            node.input[2] = biases[node.output[0]]
    made.graph.initializer.extend(floats)
    apart = np.abs(ask(onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL) - want)
    assert np.median(apart) <= 1e-5 * np.abs(want).max()


def test_only_kernels_that_are_on_a_grid_become_integers():
    assert trained.on_grid(np.random.default_rng(0).normal(0, 1, (2, 3)), 0, 63) is None
    q, scale = trained.on_grid(np.array([[0.0, 0], [-1, 0.5]]), 0, 2)
    np.testing.assert_array_equal(q, [[0, 0], [-2, 1]])
    np.testing.assert_array_equal(scale, [1, 0.5])


@pytest.mark.slow
@pytest.mark.parametrize("mode, devices", [("jit", 4), ("pmap", 4)])
def test_devices_and_accumulation_have_the_ranges_of_the_whole_batch(mode, devices):
    def train(mode, devices):
        over = Parallel(mode, devices)
        model = Quantised(ConvNet(axis_name=over.batch_norm("global", 32)))
        task, tx = Supervised(model), optim.sgd(schedules.constant(0.1))
        first = jax.jit(functools.partial(train_state.create, task, tx))(np.array([0, 3], np.uint32), make_batch(2))
        step = over.compile(make_train_step(task, tx, axis_name=over.axis_name), (None, 0))
        state = over.replicate(jax.device_get(first))
        for seed in range(3):
            state, _ = step(state, over.split(make_batch(32, seed=seed)))
        return jax.device_get(state.model_state)

    one, many = train("jit", 1), train(mode, devices)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), one, many)


@pytest.mark.parametrize(
    "form, precision, kind, message",
    [
        ("int4", "float32", "lenet5", "there is no 'int4'; did you mean 'int8'"),
        ("int8", "bfloat16", "lenet5", "set config.precision=float32"),
        ("int8", "float32", "vit", "is for nets of convolutions, and .* train it in float"),
    ],
)
def test_refused(form, precision, kind, message):
    module, shape = tiny(kind)
    with pytest.raises(UserError, match=message):
        build.check(build.of_module(module, form), precision, shape)


def test_built_again_of_its_description():
    spec = {"name": "lenet5", "num_classes": 4, "neck": "", "fields": {}, "quantize": "int8(vnni)"}
    model = build.create(spec, dtype="float32")
    assert (type(model), model.levels, model.num_classes) == (Quantised, 127, 4)
    assert model.clone(num_classes=2).num_classes == 2 and build.of_module(Net(), "") == Net()
