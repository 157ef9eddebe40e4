import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import pretrained
from jaxcls.models.pretrained import to_state_dict
from jaxcls.models.vgg import VGG

TINY = {"stage_sizes": (1, 1), "width": 4, "hidden": 6, "num_classes": 3}


def test_the_last_stage_of_vgg16_is_the_conv5_feature(shapes):
    got = shapes(models.create("vgg16"), 224, 224, 3)
    assert got["stem"] == (224, 224, 64)
    assert [got[f"stage{i}"] for i in range(1, 6)] == [
        (112, 112, 64), (56, 56, 128), (28, 28, 256), (14, 14, 512), (7, 7, 512)
    ]  # fmt: skip
    assert got["pre_logits"] == (4096,) and got["logits"] == (1000,)


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
@pytest.mark.parametrize("norm", ["", "_bn"])
def test_the_name_counts_the_layers(depth, norm, abstract):
    params = abstract(models.create(f"vgg{depth}{norm}"), 224, 224, 3)["params"]
    assert sum("kernel" in layer for layer in params.values()) == depth
    assert sum("scale" in layer for layer in params.values()) == (depth - 3 if norm else 0)


@pytest.mark.parametrize(
    "name, positions",
    [("vgg11", (0, 3, 6, 8, 11, 13, 16, 18)), ("vgg11_bn", (0, 4, 8, 11, 15, 18, 22, 25)),
     ("vgg16", (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28))],
)  # fmt: skip
def test_names_are_the_positions_in_torchvisions_list(name, positions, abstract):
    params = abstract(models.create(name), 32, 32, 3)["params"]
    convs = {layer for layer, tree in params.items() if layer.startswith("features") and "kernel" in tree}
    assert convs == {f"features.{i}" for i in positions}


def test_timms_names_and_kernels_load(abstract):
    """timm's dense layers are convolutions: 7x7 and 1x1."""
    model = VGG(**TINY)
    variables = abstract(model, 28, 28, 3)
    shapes = {
        "features.0.weight": (4, 3, 3, 3), "features.3.weight": (8, 4, 3, 3), "pre_logits.fc1.weight": (6, 8, 7, 7),
        "pre_logits.fc2.weight": (6, 6, 1, 1), "head.fc.weight": (3, 6),
    }  # fmt: skip
    rng, state = np.random.default_rng(0), {}
    for key, shape in shapes.items():
        state[key] = rng.normal(size=shape).astype(np.float32)
        state[key.replace("weight", "bias")] = rng.normal(size=shape[0]).astype(np.float32)
    loaded, report = pretrained.load(model, jax.tree.map(lambda x: jnp.zeros(x.shape), variables), state)
    assert not report.kept and not report.skipped
    x = rng.normal(size=(2, 28, 28, 3)).astype(np.float32)
    logits, out = model.apply(loaded, x)
    last = np.asarray(out["stage2"])  # [2, 7, 7, 8]
    fc1 = np.einsum("bhwc,ochw->bo", last, state["pre_logits.fc1.weight"]) + state["pre_logits.fc1.bias"]
    fc2 = np.maximum(fc1, 0) @ state["pre_logits.fc2.weight"][:, :, 0, 0].T + state["pre_logits.fc2.bias"]
    want = np.maximum(fc2, 0) @ state["head.fc.weight"].T + state["head.fc.bias"]
    np.testing.assert_allclose(logits, want, rtol=1e-3, atol=1e-3)


def test_dropout_acts_in_training_only(drawn):
    model, x = VGG(**TINY), jnp.ones((2, 8, 8, 3))
    variables = drawn(model, 8, 8, 3)
    call = lambda seed, train: model.apply(variables, x, train=train, rngs={"dropout": jax.random.key(seed)})[0]  # noqa: E731
    assert (call(0, True) != call(1, True)).any()
    np.testing.assert_array_equal(call(0, False), call(1, False))


def test_sizes(shapes):
    model = models.create("vgg11", width=4, hidden=5)
    assert shapes(model, 32, 91, 1)["stage5"] == (1, 2, 32)
    with pytest.raises(UserError, match="VGG takes pictures of 32x32 or larger, not 40x31: resize them"):
        shapes(model, 40, 31, 1)


def test_without_classes_the_mean_of_the_last_stage_is_left(shapes, abstract):
    model = models.create("vgg11_bn", num_classes=0)
    assert shapes(model, 64, 64, 3)["logits"] == (512,)
    params = abstract(model, 64, 64, 3)["params"]
    assert not {name for name in params if name.startswith("classifier")}
    published = to_state_dict(jax.tree.map(lambda x: np.zeros(x.shape, np.float32), abstract(model, 64, 64, 3)))
    published["classifier.0.weight"] = np.zeros((4096, 25088), np.float32)
    _, report = pretrained.match(model, abstract(model, 64, 64, 3), published)
    assert list(report.skipped) == ["classifier.0.weight"]


def test_initialisation(check_init):
    model = models.create("vgg11", stage_sizes=(1, 1, 1), hidden=32, num_classes=8)
    assert check_init("vgg11", model, 32, 32, 3) == 6
    state = to_state_dict(jax.jit(model.init)(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32)))
    for i in (0, 3, 6):
        weight, bias = state[f"classifier.{i}.weight"], state[f"classifier.{i}.bias"]
        assert weight.std() == pytest.approx(0.01, rel=5 / np.sqrt(weight.size)) and not bias.any()
