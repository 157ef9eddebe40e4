"""Names, masks and sizes against what jax itself says and against published or hand-counted sizes."""

import subprocess
import sys
from typing import NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcls import pytree
from jaxcls.errors import UserError


@flax.struct.dataclass
class Point:
    x: object
    y: object


class Pair(NamedTuple):
    first: object
    second: object


TREE = {"layer1.0": {"conv1": {"kernel": 1, "bias": 2}}, "more": [3, Pair(4, Point(5, None))]}


def test_names_of_every_kind_of_node():
    assert pytree.flatten_names(TREE) == {
        "layer1.0/conv1/bias": 2,
        "layer1.0/conv1/kernel": 1,
        "more/0": 3,
        "more/1/first": 4,
        "more/1/second/x": 5,
    }
    assert pytree.flatten_names(7) == {"": 7}
    assert pytree.flatten_names({}) == {}


def test_names_of_an_optimiser_state():
    names = pytree.flatten_names(optax.chain(optax.clip(1.0), optax.adam(1e-3)).init({"fc": {"kernel": jnp.ones(3)}}))
    assert list(names) == ["1/0/count", "1/0/mu/fc/kernel", "1/0/nu/fc/kernel"]


def test_ambiguous_names_are_refused():
    with pytest.raises(ValueError, match="'a/b'"):
        pytree.flatten_names({"a/b": 1, "a": {"b": 2}})


nested = st.recursive(
    st.integers(),
    lambda inner: (
        st.dictionaries(st.text("abc.", min_size=1, max_size=3), inner, max_size=3) | st.lists(inner, max_size=3)
    ),
    max_leaves=12,
)


@given(nested)
def test_names_keep_the_leaves_in_order_and_masks_keep_the_structure(tree):
    assert list(pytree.flatten_names(tree).values()) == jax.tree.leaves(tree)
    everything = pytree.mask(tree, "")
    assert jax.tree.structure(everything) == jax.tree.structure(tree)
    assert all(jax.tree.leaves(everything))
    assert not any(jax.tree.leaves(pytree.mask(tree, [])))


def test_mask_searches_the_full_name():
    hits = pytree.mask(TREE, [r"^layer1\.0/.*kernel$", "second"])
    assert hits["layer1.0"]["conv1"] == {"kernel": True, "bias": False}
    assert hits["more"][0] is False
    assert hits["more"][1] == Pair(False, Point(True, None))


def test_mask_drives_optax():
    params = {"fc": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}}
    decay = optax.add_decayed_weights(0.5, mask=lambda tree: pytree.mask(tree, "kernel$"))
    updates, _ = decay.update(jax.tree.map(jnp.zeros_like, params), decay.init(params), params)
    np.testing.assert_array_equal(updates["fc"]["kernel"], [0.5, 0.5])
    np.testing.assert_array_equal(updates["fc"]["bias"], [0.0, 0.0])


def test_a_pattern_without_match_names_the_nearest():
    pytree.require_matches(TREE, ["kernel", "second/x$"])
    with pytest.raises(UserError, match=r"freeze 'conv1/kernal\$' .*nearest are layer1\.0/conv1/kernel"):
        pytree.require_matches(TREE, ["bias", "conv1/kernal$"], what="freeze")
    with pytest.raises(UserError, match="the tree is empty"):
        pytree.require_matches({}, "kernel")


def test_a_bad_pattern_is_the_users_error():
    with pytest.raises(UserError, match="no regular expression"):
        pytree.mask(TREE, "layer[1")
    with pytest.raises(UserError, match="no regular expression"):
        pytree.require_matches(TREE, "*kernel")


def test_nearest_finds_the_part_that_was_misspelt():
    names = ["head/fc/kernel", "layer1.0/conv1/kernel", "layer1.0/bn1/scale"]
    assert pytree.nearest(r"^laeyr1\.0/bn1/", names, n=1) == ["layer1.0/bn1/scale"]
    assert pytree.nearest("head.fc", names, n=1) == ["head/fc/kernel"]


def test_count_and_bytes_of_lenet_without_making_an_array():
    class LeNet(nn.Module):
        @nn.compact
        def __call__(self, x):
            for features in (6, 16, 120):
                x = nn.Conv(features, (5, 5), padding="VALID")(x)
                x = nn.avg_pool(x, (2, 2), (2, 2)) if features < 120 else x
            return nn.Dense(10)(nn.Dense(84)(x.reshape(len(x), -1)))

    shapes = jax.eval_shape(LeNet().init, jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
    assert pytree.count(shapes) == 61_706  # LeNet-5 with a dense C3: the count found everywhere
    assert pytree.nbytes(shapes) == 4 * 61_706


def test_bytes_follow_the_dtype():
    tree = {"half": jnp.zeros((2, 3), jnp.bfloat16), "double": np.zeros((), np.float64), "none": np.zeros((4, 0))}
    assert pytree.nbytes(tree) == 6 * 2 + 8
    assert pytree.nbytes(jax.random.key(0)) == 8
    assert pytree.count({"a": 1.5, "b": [np.zeros((5, 2))]}) == 11


def test_importing_it_does_not_import_jax():
    code = "import sys, jaxcls.pytree; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
