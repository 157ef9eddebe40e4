import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import mbconv_net, summary


def test_by_default_it_is_mobilenet_v2_block_for_block(abstract):
    """The same shapes in the same order, and torchvision's count of multiply-adds."""
    ours, theirs = (abstract(models.create(name), 64, 64, 3) for name in ("mbconv_net", "mobilenet_v2"))
    sizes = lambda tree: sorted(leaf.shape for leaf in jax.tree.leaves(tree["params"]))  # noqa: E731
    assert sizes(ours) == sizes(theirs)
    counts = [summary.summarize(models.create(name), (224, 224, 3)).total for name in ("mbconv_net", "mobilenet_v2")]
    assert counts[0] == counts[1] and round(counts[0].macs / 1e9, 3) == 0.301


def test_a_skipped_block_is_not_there_and_keeps_its_number(drawn):
    """The others keep their names, and the answers are those of the shorter chain."""
    blocks = ((3, 1, 8, 1), "skip", (5, 2, 12, 2))
    whole = models.create("mbconv_net", num_classes=3, blocks=blocks, first=8, last=0)
    short = models.create("mbconv_net", num_classes=3, blocks=(blocks[0], blocks[2]), first=8, last=0)
    variables = drawn(whole, 12, 12, 3)
    assert "features.2" not in variables["params"] and "features.3" in variables["params"]
    rename = lambda tree: {{"features.3": "features.2"}.get(name, name): leaf for name, leaf in tree.items()}  # noqa: E731
    images = jax.random.normal(jax.random.key(0), (2, 12, 12, 3))
    got = whole.apply(variables, images)[0]
    want = short.apply(jax.tree.map(jnp.asarray, {name: rename(tree) for name, tree in variables.items()}), images)[0]
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "fields, sides",
    [
        ({"stem": "cifar"}, {"stem": (32, 16), "stage1": (16, 24), "stage2": (8, 64)}),
        ({"stem": "imagenet", "last": 0}, {"stem": (16, 16), "stage1": (8, 24), "stage2": (4, 32)}),
        ({"blocks": ((3, 1, 16, 1),)}, {"stem": (16, 32), "stage1": (16, 64)}),
    ],
)
def test_stages_begin_where_the_picture_is_halved(fields, sides, shapes):
    chain = {"blocks": ((3, 1, 16, 1), (5, 6, 24, 2), (3, 6, 24, 1), (3, 6, 32, 2)), "last": 64, "first": 32}
    got = shapes(models.create("mbconv_net", num_classes=5, **{**chain, **fields}), 32, 32, 3)
    assert {name: (shape[0], shape[2]) for name, shape in got.items() if len(shape) == 3} == sides
    assert got["logits"] == (5,)


@pytest.mark.parametrize(
    "blocks",
    [((4, 6, 24, 1),), ((3, 0, 24, 1),), ((3, 6, 24, 3),), ((3, 6, 24),), ((3, 6, 24.5, 1),), ("none",), (3, 6, 24, 1)],
)
def test_what_is_no_block_is_told_in_one_line(blocks):
    with pytest.raises(UserError, match=r"each entry of blocks must be \(kernel, expansion, width, stride\)"):
        models.create("mbconv_net", blocks=blocks)


@pytest.mark.parametrize("fields, message", [({"act": "gelu"}, "act must be one of"), ({"first": 0}, "first must be")])
def test_other_fields_are_checked(fields, message):
    with pytest.raises(UserError, match=message):
        models.create("mbconv_net", **fields)


def test_hard_swish_is_another_net(drawn):
    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    nets = [
        models.create("mbconv_net", num_classes=3, blocks=((3, 2, 8, 1),), act=act) for act in mbconv_net.ACTIVATIONS
    ]
    variables = drawn(nets[0], 8, 8, 3)
    got = [net.apply(variables, images)[0] for net in nets]
    assert np.abs(got[0] - got[1]).max() > 1e-4
