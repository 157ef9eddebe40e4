"""State dicts into models and back, and weights of nets that are not quite the model."""

import hashlib
import json
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given
from hypothesis import strategies as st

from jaxcls import augment, models
from jaxcls.errors import UserError
from jaxcls.models import weight_files
from jaxcls.models.base import Classifier
from jaxcls.models.pretrained import from_state_dict, load, match, to_state_dict
from jaxcls.training import build


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
    assert "\n" not in message and "4 tensors do not fit" in message
    assert "1 missing: linear.weight" in message and "1 unexpected: fc.weight" in message
    assert "conv1.weight is 16x1x3x3 where the model has 16x3x3x3" in message
    assert "linear.bias is a scalar where the model has 10" in message


def test_weights_of_another_architecture_give_a_short_error(state_and_variables):
    _, variables = state_and_variables
    with pytest.raises(UserError, match="and 90 more$"):
        from_state_dict({f"other{i}": np.zeros(1) for i in range(100)}, variables)


# Weights of a net that is not quite the model


class Net(Classifier):
    """A convolution, a table, a norm and a last layer that is a 1x1 convolution; 12 tensors in PyTorch's layout."""

    side: int = 4
    head: ClassVar = ("head",)
    unused: ClassVar = (r"^aux\.",)
    renames: ClassVar = ((r"^stem\.", "body."), (r"^body\.", "conv."), (r"\.beta$", ".bias"))
    resized: ClassVar = {"table": lambda value, shape: value[:, :, : shape[2], : shape[3]]}

    @nn.compact
    def __call__(self, images, *, train: bool = False):
        x = nn.Conv(4, (3, 3), name="conv", dtype=jnp.float32)(images)
        x = x + self.param("table", nn.initializers.zeros, (1, 4, self.side, self.side)).mean()
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        x = nn.Dense(5, name="fc")(x)
        x = nn.Conv(self.num_classes, (1, 1), name="head")(x) if self.num_classes else x
        return x.mean((1, 2)), {}


@pytest.fixture
def net(drawn):
    """(model of 3 classes, its variables, a state dict for it with other values)."""
    model = Net(num_classes=3)
    variables = drawn(model, 8, 8, 3)
    state = {key: value + 1 for key, value in to_state_dict(variables).items()}
    return model, variables, state


def test_everything_loads_where_nothing_differs(net):
    model, variables, state = net
    got, report = load(model, variables, state)
    assert sorted(report.loaded) == sorted(state) and len(state) == 11
    assert not report.kept and not report.skipped and not report.resized
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b + 1), got, variables)
    assert str(report).splitlines()[0].endswith("11 of 11 tensors loaded") and json.dumps(report.to_dict())


def test_abstract_variables_give_the_loaded_leaves_alone(net, abstract):
    model, _, state = net
    state["head.weight"], state["head.bias"] = np.zeros((9, 5, 1, 1)), np.zeros(9)
    weights, report = match(model, abstract(model, 8, 8, 3), state)
    assert weights.keys() == {"params", "batch_stats"} and weights["params"].keys() == {"conv", "table", "norm", "fc"}
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(weights)) and len(report.kept) == 2


@pytest.mark.parametrize("shape", [(9, 5, 1, 1), (9, 5)])
def test_the_last_layer_of_other_classes_stays_as_initialised(net, shape):
    model, variables, state = net
    state["head.weight"], state["head.bias"] = np.zeros(shape, np.float32), np.zeros(9, np.float32)
    got, report = load(model, variables, state)
    np.testing.assert_array_equal(got["params"]["head"]["kernel"], variables["params"]["head"]["kernel"])
    np.testing.assert_array_equal(got["params"]["head"]["bias"], variables["params"]["head"]["bias"])
    np.testing.assert_array_equal(got["params"]["fc"]["bias"], variables["params"]["fc"]["bias"] + 1)
    assert report.kept == dict.fromkeys(["head.bias", "head.weight"], "the file has 9 classes, the model 3")
    assert "as initialised: head.bias, head.weight (the file has 9 classes, the model 3)" in str(report)


def test_a_last_layer_that_differs_in_more_is_refused(net):
    model, variables, state = net
    state["head.weight"], state["head.bias"] = np.zeros((9, 7, 1, 1)), np.zeros(9)
    with pytest.raises(UserError, match="head.weight is 9x7x1x1 where the model has 3x5x1x1"):
        load(model, variables, {**state, "head.bias": np.zeros(3)})
    with pytest.raises(UserError, match="head.weight is 9x7x1x1"):
        load(model, variables, state)


def test_a_file_without_a_last_layer_and_a_model_without_one(net, drawn):
    model, variables, state = net
    features = {key: value for key, value in state.items() if not key.startswith("head.")}
    _, report = load(model, variables, features)
    assert report.kept == dict.fromkeys(["head.bias", "head.weight"], "the file has no last layer")
    with pytest.raises(UserError, match="1 missing: head.bias"):
        load(model, variables, {**features, "head.weight": state["head.weight"]})
    without = Net(num_classes=0)
    _, report = load(without, drawn(without, 8, 8, 3), state)
    assert report.skipped == dict.fromkeys(["head.bias", "head.weight"], "the model has no classifier")


@pytest.mark.parametrize("old, new", [(3, 1), (3, 3), (3, 6), (1, 3), (1, 2)])
def test_other_channels_of_equal_values_give_what_the_published_ones_gave(old, new, drawn):
    """A picture whose channels are all the same, in as many as the file was made for and in as many as we have."""
    model, grey = Net(num_classes=3), np.random.default_rng(9).normal(size=(2, 8, 8, 1)).astype(np.float32)
    published = drawn(model, 8, 8, old)
    got, report = load(model, drawn(model, 8, 8, new), to_state_dict(published))
    expected, _ = model.apply(published, np.repeat(grey, old, 3))
    np.testing.assert_allclose(model.apply(got, np.repeat(grey, new, 3))[0], expected, rtol=1e-4, atol=1e-5)
    change = {"from": [4, old, 3, 3], "to": [4, new, 3, 3], "how": f"{old} to {new} channels"}
    assert report.resized == ({} if old == new else {"conv.weight": change})


def test_grey_is_the_sum_and_channels_repeat_in_turn(net, drawn):
    model, _, state = net
    kernel = state["conv.weight"]
    one, _ = load(model, drawn(model, 8, 8, 1), state)
    np.testing.assert_allclose(to_state_dict(one)["conv.weight"][:, 0], kernel.sum(1), rtol=1e-6)
    five, _ = load(model, drawn(model, 8, 8, 5), state)
    np.testing.assert_allclose(to_state_dict(five)["conv.weight"], kernel[:, [0, 1, 2, 0, 1]] * 3 / 5, rtol=1e-6)
    with pytest.raises(UserError, match="conv.weight is 4x2x3x3"):  # made for neither grey nor colour
        load(model, drawn(model, 8, 8, 5), {**state, "conv.weight": kernel[:, :2]})


class TwoKernels(Classifier):
    """Two convolutions that see as many features as the picture has."""

    @nn.compact
    def __call__(self, images, *, train: bool = False):
        for name in ("a", "b"):
            images = nn.Conv(images.shape[-1], (3, 3), name=name)(images)
        return images.mean((1, 2)), {}


def test_two_kernels_for_other_channels_are_no_first_ones(drawn):
    model = TwoKernels()
    variables = drawn(model, 8, 8, 2)
    state = {key: np.zeros((2, 3, 3, 3) if key.endswith("weight") else (2,)) for key in to_state_dict(variables)}
    with pytest.raises(UserError, match="2 of another kind: a.weight is 2x3x3x3 where the model has 2x2x3x3, b.weight"):
        load(model, variables, state)


def test_axes_of_length_one_are_no_difference(net):
    model, variables, state = net
    other = {**state, "fc.weight": state["fc.weight"][:, :, None, None], "conv.bias": state["conv.bias"][None]}
    got, report = load(model, variables, other)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b + 1), got, variables)
    assert report.resized["fc.weight"] == {"from": [5, 4, 1, 1], "to": [5, 4], "how": "axes of length one"}
    jax.tree.map(np.testing.assert_array_equal, from_state_dict(other, variables), got)  # the strict pair does it, too


def test_tables_of_another_size_pass_the_models_function(net):
    model, variables, state = net
    big = np.arange(4 * 36, dtype=np.float32).reshape(1, 4, 6, 6)
    got, report = load(model, variables, {**state, "table": big})
    np.testing.assert_array_equal(got["params"]["table"], big[:, :, :4, :4])
    assert report.resized["table"] == {"from": [1, 4, 6, 6], "to": [1, 4, 4, 4], "how": "as the model's table"}
    assert "resized: table 1x4x6x6 to 1x4x4x4 (as the model's table)" in str(report)
    for bad in (big[:, :3], big[0, 0]):  # what the function leaves as it is, what it can't do
        with pytest.raises(UserError, match="table is .* where the model has 1x4x4x4"):
            load(model, variables, {**state, "table": bad})


def test_names_of_another_library(net):
    """Rules apply in turn, to what is not our name already, after the wrappers' prefixes are gone."""
    model, variables, state = net
    state["stem.weight"], state["stem.beta"] = state.pop("conv.weight"), state.pop("conv.bias")
    got, report = load(model, variables, {f"module._orig_mod.{key}": value for key, value in state.items()})
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b + 1), got, variables)
    assert "conv.weight" in report.loaded
    with pytest.raises(UserError, match="stem.weight and body.weight would both be conv.weight"):
        load(model, variables, {**state, "body.weight": state["stem.weight"]})


def test_what_the_model_has_no_use_for(net):
    model, variables, state = net
    state |= {"aux.fc.weight": np.zeros(3), "norm.num_batches_tracked": np.array(7), "n_averaged": np.array(3)}
    _, report = load(model, variables, state)
    assert report.skipped == {"aux.fc.weight": "not used by the model"}  # counters are not worth a word
    assert "left out of the file: aux.fc.weight (not used by the model)" in str(report)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"conv.bias": None}, "1 missing: conv.bias"),
        ({"extra": np.zeros(1)}, "1 unexpected: extra"),
        ({"conv.bias": np.zeros(5)}, "conv.bias is 5 where the model has 4"),
        ({"conv.bias": np.zeros(())}, "conv.bias is a scalar where the model has 4"),
        ({"conv.bias": np.arange(4)}, "conv.bias is of type int64"),
        ({"conv.bias": np.array([0, np.nan, 0, 0])}, "conv.bias holds values that are not finite"),
        ({"conv.bias": np.array([0, 1e300, 0, 0])}, "conv.bias holds values that are not finite"),  # as a float32
        ({"head.bias": np.zeros((3, 2))}, "head.bias is 3x2 where the model has 3"),
        ({"norm.running_var": np.zeros(9)}, "norm.running_var is 9 where"),
    ],
)
def test_whatever_no_rule_explains_is_refused(net, change, message):
    model, variables, state = net
    state = {key: value for key, value in (state | change).items() if value is not None}
    with pytest.raises(UserError) as error:
        load(model, variables, state)
    assert message in str(error.value) and "1 tensors do not fit" in str(error.value) and "\n" not in str(error.value)


@given(st.data())
def test_every_tensor_is_accounted_for(data):
    """Any subset of the names, with other shapes and strangers among them: refused, or each named in the report."""
    model = Net(num_classes=3)
    shapes = {"conv.weight": (4, 3, 3, 3), "conv.bias": (4,), "table": (1, 4, 4, 4), "norm.weight": (4,),
              "norm.bias": (4,), "norm.running_mean": (4,), "norm.running_var": (4,), "fc.weight": (5, 4),
              "fc.bias": (5,), "head.weight": (3, 5, 1, 1), "head.bias": (3,)}  # fmt: skip
    changed = st.sampled_from([(9, 5, 1, 1), (9,), (4, 1, 3, 3), (1, 4, 6, 6), (5, 4, 1, 1), (7, 7), None])
    drawn = {**shapes, **data.draw(st.dictionaries(st.sampled_from([*shapes, "aux.x", "y"]), changed, max_size=3))}
    state = {key: np.ones(shape, np.float32) for key, shape in drawn.items() if shape is not None}
    variables = {"params": {"table": jnp.zeros((1, 4, 4, 4))}, "batch_stats": {}}
    for key, shape in shapes.items():
        layer, _, leaf = key.rpartition(".")
        if layer:
            ours = {"running_mean": "mean", "running_var": "var"}.get(leaf, leaf)
            ours = {"weight": "scale" if layer == "norm" else "kernel"}.get(ours, ours)
            shape = (*shape[2:], shape[1], shape[0]) if ours == "kernel" else shape
            kind = "batch_stats" if ours in ("mean", "var") else "params"
            variables[kind].setdefault(layer, {})[ours] = jnp.zeros(shape)
    try:
        got, report = load(model, variables, state)
    except UserError:
        assert drawn != shapes
        return
    assert {*report.loaded} | report.kept.keys() == shapes.keys() and not {*report.loaded} & report.kept.keys()
    assert state.keys() - report.skipped.keys() - report.kept.keys() == {*report.loaded}
    values = to_state_dict(got)
    assert all(values[name].any() == (name in report.loaded) for name in shapes)


def test_the_file_is_named_in_report_and_error(net, tmp_path):
    model, variables, state = net
    path = tmp_path / "x.safetensors"
    weight_files.write(path, state, {})
    _, report = load(model, variables, weight_files.read(path))
    assert report.source == {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert str(report).startswith(f"weights {path}: 11 of 11")
    del state["conv.bias"]
    weight_files.write(path, state, {})
    with pytest.raises(UserError, match=f"weights {path}: these weights are not this model's"):
        load(model, variables, weight_files.read(path))


@given(st.sampled_from(["float16", "bfloat16", None]))
def test_a_state_dict_of_another_type(dtype):
    variables = {"params": {"fc": {"kernel": np.full((2, 3), 1 / 3, np.float32), "table": np.arange(3)}}}
    state = to_state_dict(variables, dtype=None if dtype is None else jnp.dtype(dtype))
    assert state["fc.weight"].dtype == (dtype or "float32") and state["fc.table"].dtype == np.arange(3).dtype
    again = from_state_dict(state, variables)["params"]["fc"]["kernel"]
    assert again.dtype == np.float32 and np.abs(again - 1 / 3).max() <= (0 if dtype is None else 2e-3)


def test_published_weights_name_pictures_of_imagenet(shared, abstract):
    """torchvision's SqueezeNet 1.1 in float16: of 100 pictures 65 right, 87 among the first five."""
    model = models.create("squeezenet1_1")
    file = weight_files.read(shared / "data/weights/squeezenet1_1_imagenet.safetensors")
    variables, report = load(model, abstract(model, 224, 224, 3), file)
    assert len(report.loaded) == 52 and not report.kept and not report.skipped
    synsets = [line.split()[0] for line in (shared / "data/imagenet_classes.txt").read_text().splitlines()]
    paths = sorted((shared / "data/imagenet_sample").glob("*.jpg"))
    labels = np.array([synsets.index(path.name.partition("_")[0]) for path in paths])
    operations, _ = augment.split_list(("resize(224)", "center_crop(224)"), encoded=True)
    prepare = augment.host_transform(operations, channels=3)
    mean, std = build.NORMALIZE["imagenet"]
    pictures = np.stack([prepare(path.read_bytes(), path.name, None) for path in paths]) / np.float32(255)
    apply = jax.jit(model.apply)
    logits = [apply(variables, (part - np.float32(mean)) / np.float32(std))[0] for part in np.split(pictures, 4)]
    best = np.argsort(-np.concatenate(logits), axis=1)[:, :5]
    assert abs((best[:, 0] == labels).sum() - 65) <= 1
    assert abs((best == labels[:, None]).any(1).sum() - 87) <= 1


NAMES = ["vgg11", "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "shufflenet_v2_x0_5", "efficientnet_b0",
         "regnet_y_400mf", "convnext_tiny", "swin_t", "densenet121", "resnet18", "resnetv2_50", "wrn_16_8",
         "simple_cnn_16_32"]  # fmt: skip
SMALL = {**dict.fromkeys(NAMES, 32), "alexnet": 64, "squeezenet1_1": 64}  # sides of pictures


@pytest.mark.parametrize("name", SMALL)
def test_weights_with_a_classifier_load_into_a_model_without_one(name, abstract):
    shape = (SMALL[name], SMALL[name], 3)
    full, bare = (abstract(models.create(name, num_classes=classes), *shape) for classes in (7, 0))
    state = to_state_dict(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), full))
    _, report = match(models.create(name, num_classes=0), bare, state)
    assert report.skipped and not report.kept
    assert len(report.loaded) == len(jax.tree.leaves(bare)) == len(state) - len(report.skipped)
