import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import pretrained
from jaxcls.models.googlenet import GoogLeNet, normal
from jaxcls.models.pretrained import to_state_dict

# The blocks with auxiliary classifiers behind them, and one of every other stage.
TINY = {
    "num_classes": 3,
    "stages": (
        (("3a", (4, 3, 4, 3, 4, 4)),),
        (("4a", (4, 3, 4, 3, 4, 4)), ("4d", (4, 3, 4, 3, 4, 5))),
        (("5a", (4, 3, 4, 3, 4, 4)),),
    ),
}


def test_stages(shapes):
    """The sizes of table 1."""
    got = shapes(models.create("googlenet"), 224, 224, 3)
    assert [got[key] for key in ("stem", "stage1", "stage2", "stage3", "stage4")] == [
        (56, 56, 64), (56, 56, 192), (28, 28, 480), (14, 14, 832), (7, 7, 1024)
    ]  # fmt: skip
    assert got["pre_logits"] == (1024,) and got["logits"] == (1000,)
    assert "aux_logits" not in got


def test_the_branch_that_the_paper_calls_5x5_is_3x3(abstract):
    params = abstract(models.create("googlenet"), 64, 64, 3)["params"]
    assert len([name for name in params if name.startswith("inception")]) == 9
    kernels = {name: tree["conv"]["kernel"].shape for name, tree in params["inception4d"].items()}
    assert kernels == {
        "branch1": (1, 1, 512, 112), "branch2.0": (1, 1, 512, 144), "branch2.1": (3, 3, 144, 288),
        "branch3.0": (1, 1, 512, 32), "branch3.1": (3, 3, 32, 64), "branch4.1": (1, 1, 512, 64),
    }  # fmt: skip


def count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def test_auxiliary_classifiers_have_parameters_in_any_mode_and_logits_in_training(abstract, shapes):
    model = models.create("googlenet", aux_logits=True)
    variables = abstract(model, 224, 224, 3)
    assert count(variables) == 13_004_888
    image = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    trained = jax.eval_shape(lambda x: model.init(keys, x, train=True), image)
    assert jax.tree.structure(trained) == jax.tree.structure(variables)
    assert shapes(model, 224, 224, 3, train=True)["aux_logits"] == ((1000,), (1000,))
    assert "aux_logits" not in shapes(model, 224, 224, 3)


@pytest.mark.slow
def test_auxiliary_classifiers_see_the_blocks_4a_and_4d(drawn):
    model = GoogLeNet(**TINY, aux_logits=True, aux_dropout=0.0, dropout=0.0, dtype=jnp.bfloat16)
    variables = drawn(model, 40, 50, 3)
    images = np.random.default_rng(1).normal(size=(4, 40, 50, 3)).astype(np.float32)

    def both(params):
        _, out = model.apply({**variables, "params": params}, images, train=True, mutable=["batch_stats"])[0]
        assert all(logits.dtype == jnp.float32 for logits in out["aux_logits"])
        return [logits.sum() for logits in out["aux_logits"]]

    first, second = jax.jit(jax.jacrev(both))(variables["params"])
    used = [{path[0] for path, grad in traverse_util.flatten_dict(g).items() if grad.any()} for g in (first, second)]
    stem = {"conv1", "conv2", "conv3"}
    assert used[0] == stem | {"inception3a", "inception4a", "aux1"}
    assert used[1] == stem | {"inception3a", "inception4a", "inception4d", "aux2"}


def test_published_weights_fit_with_and_without_auxiliary_classifiers(abstract):
    whole = GoogLeNet(**TINY, aux_logits=True)
    state = to_state_dict(jax.tree.map(lambda x: np.ones(x.shape, np.float32), abstract(whole, 32, 32, 3)))
    assert {key.split(".")[0] for key in state if "aux" in key} == {"aux1", "aux2"}
    without = GoogLeNet(**TINY)
    _, report = pretrained.match(without, abstract(without, 32, 32, 3), state)
    assert set(report.skipped) == {key for key in state if "aux" in key} and not report.kept
    other = GoogLeNet(**{**TINY, "num_classes": 5}, aux_logits=True)
    _, report = pretrained.match(other, abstract(other, 32, 32, 3), state)
    assert {name.rpartition(".")[0] for name in report.kept} == {"fc", "aux1.fc2", "aux2.fc2"}


@pytest.mark.slow
def test_dropout_acts_in_training_only(drawn):
    model, x = GoogLeNet(**TINY, aux_logits=True), jnp.ones((2, 15, 16, 3))
    variables = drawn(model, 15, 16, 3)

    def call(seed, train):
        rngs = {"dropout": jax.random.key(seed)}
        return model.apply(variables, x, train=train, mutable=["batch_stats"], rngs=rngs)[0]

    (first, out), (second, again) = call(0, True), call(1, True)
    for a, b in zip((first, *out["aux_logits"]), (second, *again["aux_logits"]), strict=True):
        assert (a != b).any()
    np.testing.assert_array_equal(call(0, False)[0], call(1, False)[0])


def test_sizes(shapes):
    assert shapes(models.create("googlenet"), 15, 100, 1)["stage4"] == (1, 3, 1024)
    with pytest.raises(UserError, match="GoogLeNet takes pictures of 15x15 or larger, not 14x14: resize them"):
        shapes(models.create("googlenet"), 14, 14, 1)


def test_without_classes_the_mean_of_the_last_stage_is_left(shapes, abstract):
    model = models.create("googlenet", num_classes=0, aux_logits=True)
    assert shapes(model, 64, 64, 3, train=True)["logits"] == (1024,)
    assert not {name for name in abstract(model, 64, 64, 3)["params"] if name.startswith(("fc", "aux"))}


def test_weights_start_with_a_deviation_of_a_hundredth():
    values = np.asarray(normal(jax.random.key(0), (100, 100)))
    assert values.std() == pytest.approx(0.01, rel=0.05) and abs(values.mean()) < 5e-4
    model = GoogLeNet(**TINY, aux_logits=True)
    state = to_state_dict(jax.jit(model.init)(jax.random.key(0), np.zeros((1, 16, 16, 3), np.float32)))
    for key in ("conv1.conv.weight", "conv3.conv.weight", "inception3a.branch2.0.conv.weight", "aux1.fc1.weight"):
        assert state[key].std() == pytest.approx(0.01, rel=5 / np.sqrt(state[key].size)), key
