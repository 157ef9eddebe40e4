import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import pretrained
from jaxcls.models.densenet import DenseNet

TINY = {"growth_rate": 2, "block_config": (2, 1), "num_init_features": 4, "bn_size": 3, "num_classes": 3}


@pytest.mark.parametrize("name, depth", [("densenet121", 121), ("densenet161", 161), ("densenet169", 169),
                                         ("densenet201", 201)])  # fmt: skip
def test_the_name_counts_the_layers(name, depth, abstract):
    params = abstract(models.create(name), 32, 32, 3)["params"]
    convs = [part for tree in params.values() for part in tree if part.startswith("conv")]
    assert len(convs) + 2 == depth  # the stem and the classifier, whose kernels lie one level higher


def test_features_of_the_layers(abstract):
    params = abstract(models.create("densenet161"), 32, 32, 3)["params"]
    assert params["features.denseblock1.denselayer1"]["conv1"]["kernel"].shape == (1, 1, 96, 192)
    assert params["features.denseblock1.denselayer6"]["conv1"]["kernel"].shape == (1, 1, 96 + 5 * 48, 192)
    assert params["features.denseblock1.denselayer6"]["conv2"]["kernel"].shape == (3, 3, 192, 48)
    assert params["features.transition1"]["conv"]["kernel"].shape == (1, 1, 384, 192)
    assert params["features.transition3"]["conv"]["kernel"].shape == (1, 1, 2112, 1056)
    assert params["features.norm5"]["scale"].shape == (2208,)


@pytest.mark.parametrize("stem, sides", [("imagenet", [8, 8, 4, 2, 1]), ("cifar", [32, 32, 16, 8, 4])])
def test_shapes_of_the_stages(stem, sides, shapes):
    out = shapes(models.create("densenet121", stem=stem), 32, 32, 5)
    assert [out[key][0] for key in ("stem", "stage1", "stage2", "stage3", "stage4")] == sides
    assert [out[f"stage{i}"][-1] for i in (1, 2, 3, 4)] == [256, 512, 1024, 1024]


def test_a_block_keeps_what_it_saw_and_adds_to_it(drawn):
    model = DenseNet(**TINY, stem="cifar")
    variables = drawn(model, 7, 6, 3)
    x = jax.random.normal(jax.random.key(1), (2, 7, 6, 3))
    _, out = jax.jit(model.apply)(variables, x)
    assert out["stage1"].shape == (2, 7, 6, 4 + 2 * 2)
    np.testing.assert_array_equal(out["stage1"][..., :4], out["stem"])
    assert out["stage2"].shape == (2, 3, 3, 4 + 2) and (out["stage2"] >= 0).all()
    np.testing.assert_allclose(out["pre_logits"], out["stage2"].mean((1, 2)), rtol=1e-5)


def test_drop_rate_zeroes_new_features_in_training_only(drawn):
    model = DenseNet(**TINY, stem="cifar", drop_rate=0.5)
    variables = drawn(model, 6, 6, 3)
    x = jax.random.normal(jax.random.key(1), (4, 6, 6, 3))
    run = jax.jit(partial(model.apply, train=True, mutable=["batch_stats"]))
    new = run(variables, x, rngs={"dropout": jax.random.key(2)})[0][1]["stage1"][..., 4:]
    assert 0.35 < (new == 0).mean() < 0.65
    evaluated = [jax.jit(net.apply)(variables, x)[0] for net in (model, model.copy(drop_rate=0.0))]
    np.testing.assert_array_equal(*evaluated)


def test_attention_stands_behind_each_block_and_each_transition(abstract):
    params = abstract(models.create("densenet121", attention="se"), 32, 32, 3)["params"]
    gates = {name: tree["fc2"]["kernel"].shape[-1] for name, tree in params.items() if name.endswith("_se")}
    places = {"denseblock1": 256, "transition1": 128, "denseblock2": 512, "transition2": 256, "denseblock3": 1024,
              "transition3": 512, "denseblock4": 1024}  # fmt: skip
    assert gates == {f"features.{place}_se": features for place, features in places.items()}
    plain = abstract(models.create("densenet121"), 32, 32, 3)["params"]
    assert params.keys() - gates.keys() == plain.keys()


def test_attention_scales_what_a_block_gives(drawn):
    model = DenseNet(**TINY, stem="cifar", attention="se")
    x = jax.random.normal(jax.random.key(1), (2, 6, 6, 3))
    _, out = jax.jit(model.apply)(drawn(model, 6, 6, 3), x)
    seen, gated = np.asarray(out["stem"]), np.asarray(out["stage1"][..., :4])
    gates = gated.sum((1, 2)) / seen.sum((1, 2))
    assert (gates > 0).all() and (gates < 1).all() and np.ptp(gates) > 0.01
    np.testing.assert_allclose(gated, seen * gates[:, None, None], rtol=1e-5, atol=1e-6)


def test_the_names_in_torchvisions_files_load(drawn):
    """Their norms and convolutions have a dot more, as in densenet121-a639ec97.pth."""
    model = DenseNet(**TINY)
    variables = drawn(model, 32, 32, 3)
    state = pretrained.to_state_dict(variables)
    layer = "features.denseblock1.denselayer2"
    for part in ("norm1", "conv1", "norm2", "conv2"):
        for block in ("1.denselayer1", "1.denselayer2", "2.denselayer1"):
            for leaf in ("weight", "bias", "running_mean", "running_var"):
                key = f"features.denseblock{block}.{part[:-1]}{{}}{part[-1]}.{leaf}"
                if key.format("") in state:
                    state[key.format(".")] = state.pop(key.format(""))
    assert f"{layer}.norm.1.running_var" in state and f"{layer}.norm1.running_var" not in state
    assert "features.transition1.norm.weight" in state
    got, _ = pretrained.load(model, jax.tree.map(jnp.zeros_like, variables), state)
    jax.tree.map(np.testing.assert_array_equal, got, variables)


def test_initialisation_is_torchvisions(shared):
    """On a net with one layer, whose first parameters have the shapes of DenseNet-121's."""
    table = json.loads((shared / "reference/functions/init_stats.json").read_text())["densenet121"]
    model = DenseNet(block_config=(1,))
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    ours = pretrained.to_state_dict({"params": params})
    same = [key for key in ours if list(ours[key].shape) == table[key][0]]
    assert {"features.conv0.weight", "features.denseblock1.denselayer1.conv2.weight", "classifier.bias"} < set(same)
    for key in same:
        shape, mean, std = table[key]
        error = 5 / np.sqrt(np.prod(shape))  # of either sample, in units of its deviation
        assert abs(ours[key].mean() - mean) <= error * std, key
        assert abs(ours[key].std() - std) <= error * std, key


def test_without_classes_there_is_no_classifier(abstract):
    model = models.create("densenet121", num_classes=0, block_config=(1, 1))
    assert "classifier" not in abstract(model, 32, 32, 3)["params"]


@pytest.mark.parametrize("stem, least", [("imagenet", 29), ("cifar", 8)])  # torchvision's min_size
def test_too_small_a_picture(stem, least, abstract):
    model = models.create("densenet121", stem=stem, block_config=(1, 1, 1, 1))  # as many as they have
    abstract(model, least, least + 3, 3)
    with pytest.raises(UserError, match=f"{least}x{least} or larger, not {least}x{least - 1}"):
        abstract(model, least, least - 1, 3)


@pytest.mark.parametrize("fields, message", [({"stem": "deep"}, "stem must be one of imagenet, cifar, not 'deep'"),
                                             ({"attention": "bam"}, "attention must be one of")])  # fmt: skip
def test_fields_that_fit_nowhere(fields, message):
    with pytest.raises(UserError, match=message):
        models.create("densenet121", **fields)
