"""A pruned net is the masked large one: its answers, gradients, a training step with its dropout and its statistics."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import prune_masks as masks
import pytest
from tiny_models import CLIPS, TINY

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import summary
from jaxcls.prune import build, counts, groups, kept
from jaxcls.prune.pruned import Pruned
from jaxcls.pytree import flatten_names

QUICK = (("simple_cnn", True), ("resnet_cifar_a", True), ("resnet_cifar_a", False))


def halves(model, shape, seed=0):
    """(groups, units that go of each, the pruned model): a random half of whatever may go."""
    found, rng = groups.find(model, shape), np.random.default_rng(seed)
    away = [np.sort(rng.permutation(g.units)[: 0 if g.why else g.units // 2]) for g in found.groups]
    stay = [np.setdiff1d(np.arange(g.units), some) for g, some in zip(found.groups, away, strict=True)]
    return found, away, build.of_module(model, kept.to_config(found.groups, stay))


def step(model, variables, images, *, train):
    """(logits, gradients, new statistics) of a sum of squares, jitted."""
    rest = {name: tree for name, tree in variables.items() if name != "params"}
    how = {"train": True, "rngs": {"dropout": jax.random.key(1)}, "mutable": list(rest)} if train else {"train": False}

    def loss(params, rest, images):
        result = model.apply({"params": params, **rest}, images, **how)
        (logits, _), statistics = result if train else (result, {})
        return jnp.sum(logits**2), (logits, statistics)

    gradients, (logits, statistics) = jax.jit(jax.grad(loss, has_aux=True))(variables["params"], rest, images)
    return logits, gradients, statistics


def alike(ours, theirs, tolerance=1e-5):
    """Trees of arrays are equal up to a share of the largest entry of all."""
    ours, theirs = flatten_names(ours), flatten_names(theirs)
    assert ours.keys() == theirs.keys()
    scale = max((np.abs(x).max() for x in theirs.values()), default=1)
    for name, array in theirs.items():
        np.testing.assert_allclose(ours[name], array, atol=tolerance * scale, err_msg=name)


def check(name, train):
    constructor, fields, shape = (TINY | CLIPS)[name]
    model = constructor(**fields, num_classes=3)
    if train:
        model = model.clone(dropout=0.3)
    found, away, small = halves(model, shape)
    chosen = [(group, some) for group, some in zip(found.groups, away, strict=True) if len(some)]
    assert chosen and isinstance(small, Pruned)
    flat = masks.masked(masks.variables(found.shapes, np.random.default_rng(0)), chosen)
    images = jnp.asarray(np.random.default_rng(1).normal(size=(4, *shape)), jnp.float32)
    like = jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0))
    large = jax.tree.unflatten(jax.tree.structure(like), [flat[name] for name in flatten_names(like)])
    variables = small.small(large, shape)
    fresh = jax.eval_shape(lambda key: small.init(key, images, train=False), jax.random.key(0))
    assert jax.tree.map(np.shape, fresh) == jax.tree.map(np.shape, variables)
    logits, gradients, statistics = step(model, large, images, train=train)
    now = step(small, variables, images, train=train)
    alike({"logits": now[0]}, {"logits": logits})
    alike({"params": now[1]}, small.small({"params": gradients}, shape))
    alike(now[2], small.small(statistics, shape))
    total = counts.count(found, kept.gone(found, small.cuts(shape)))
    assert total.parameters == sum(x.size for x in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize("name, train", QUICK)
def test_it_computes_what_the_masked_large_net_does(name, train):
    check(name, train)


@pytest.mark.slow
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", sorted({*TINY, *CLIPS} - {"convnext_v2"}))  # has means over all its channels
def test_it_computes_what_the_masked_large_net_does_everywhere(name, train):
    check(name, train)


@pytest.fixture(scope="module")
def resnet():
    model = models.create("resnet20_cifar", num_classes=10, depth=8)
    return (model, *halves(model, (32, 32, 3)))


def test_counts_are_those_of_summarize(resnet):
    model, found, _, small = resnet
    whole, part = (summary.summarize(net, (32, 32, 3)) for net in (model, small))
    cuts = kept.gone(found, small.cuts((32, 32, 3)))
    for total, gone in ((whole.total, np.zeros(0, int)), (part.total, cuts)):
        assert (total.parameters, total.macs) == counts.count(found, gone)
    shapes = {row.name: row.shape for row in part.rows("layer")}
    assert shapes["layer2.0.conv1"] == (16, 16, 16) and shapes["conv1"] == (32, 32, 8)


def test_a_batch_of_one_and_other_sizes_answer_alike(resnet):
    model, _, _, small = resnet
    images = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)
    variables = small.init(jax.random.key(0), images, train=False)
    answer = jax.jit(lambda v, x: small.apply(v, x, train=False)[0])
    together = answer(variables, images)
    np.testing.assert_allclose(answer(variables, images[:1]), together[:1], atol=1e-5)
    large = small.large(variables, (32, 32, 3))  # what is gone is zero, variances are one
    np.testing.assert_allclose(
        jax.jit(lambda v, x: model.apply(v, x, train=False)[0])(large, images), together, atol=1e-5
    )
    alike(small.small(large, (32, 32, 3)), variables, tolerance=0)


def test_it_is_equal_to_one_of_the_same_description(resnet):
    model, _, _, small = resnet
    assert build.of_module(model.clone(), dict(small.kept)) == small != model
    assert small.clone(dtype="bfloat16").module.dtype == "bfloat16" and small.num_classes == 10
    assert dataclasses.replace(small) == small


def test_the_form_of_a_config(resnet):
    _, found, away, small = resnet
    text = dict(small.kept)
    stays = kept.of_config(found.groups, text)
    for group, some, one in zip(found.groups, away, stays, strict=True):
        assert np.array_equal(np.flatnonzero(~one), some) and len(one) == group.units
    first = kept.names(found.groups)[0]
    assert int(text[first], 16).bit_count() == found.groups[0].units - len(away[0])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"frog": "ff"}, "no channels called 'frog'"),
        ({"conv1": "0"}, "a number in base 16 of 16 bits, not all 0, not '0'"),
        ({"conv1": "1ffff"}, "of 16 bits"),
        ({"conv1": "xyz"}, "not 'xyz'"),
    ],
)
def test_what_is_none_of_its_groups(resnet, change, message):
    model, found, *_ = resnet
    with pytest.raises(UserError, match=message):
        kept.of_config(found.groups, change)


def test_variables_of_another_net_are_refused(resnet):
    model, _, _, small = resnet
    images = np.zeros((2, 32, 32, 3), np.float32)
    with pytest.raises(ValueError, match="and what is kept of it"):
        jax.eval_shape(lambda: small.apply(model.init(jax.random.key(0), images, train=False), images, train=False))
