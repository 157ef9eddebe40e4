"""Pairs of towers: files of open_clip 3.3, timm and transformers 5.24 with tensors made from their names, and the
features, in float64, that those libraries give (towers.json)."""

import jax
import numpy as np
import pytest
from small_towers import STORED, image_tower, picture, tensors, tokens

from jaxcls.errors import UserError
from jaxcls.models import pretrained, text_tower, tower_files

SIGLIP = {"causal": False, "pool": "last", "epsilon": 1e-6}


def answers(net, weights, given):
    blank = jax.eval_shape(lambda: net.init(jax.random.key(0), given))
    loaded, report = pretrained.match(net, blank, weights)
    assert not report.skipped and not report.kept
    return np.asarray(net.apply(loaded, given)[0])


def assert_close(found, stored):
    assert np.linalg.norm(found - np.array(stored)) < 2e-6 * np.linalg.norm(stored)


@pytest.mark.parametrize("name", STORED)
def test_both_towers_answer_as_the_library(name):
    towers = tower_files.split(tensors(name))
    assert_close(answers(image_tower(name), towers.image, picture()), STORED[name]["image"])
    fields = SIGLIP if name.startswith("siglip") else {}
    activation = "quick_gelu" if name in ("clip", "clip_hf") else "gelu"
    net = text_tower.of_tensors(towers.text, heads=2, activation=activation, **fields)
    assert_close(answers(net, towers.text, tokens()), STORED[name]["text"])
    assert towers.scale == pytest.approx(np.exp(2.0))
    assert towers.bias == (-3.0 if name.startswith("siglip") else 0.0)


def test_a_text_is_judged_by_what_stands_before_its_end():
    towers = tower_files.split(tensors("clip"))
    net = text_tower.of_tensors(towers.text, heads=2)
    rows = tokens()
    other = rows.copy()
    for row in other:
        row[row.argmax() + 1 :] = 5  # behind the end
    assert np.array_equal(answers(net, towers.text, rows), answers(net, towers.text, other))


def test_what_is_no_pair_is_one_line():
    whole = tensors("clip_hf")
    with pytest.raises(UserError, match="no logit_scale"):
        tower_files.split({"head.weight": np.zeros((2, 2))})
    with pytest.raises(UserError, match="no tower of texts"):
        tower_files.split({key: value for key, value in whole.items() if not key.startswith("text_")})
    with pytest.raises(UserError, match=r"k_proj\.bias is missing"):
        tower_files.split({key: value for key, value in whole.items() if "text" not in key or "k_proj.bias" not in key})
    with pytest.raises(UserError, match="token_embedding"):
        text_tower.of_tensors({})


def test_rows_of_another_length_are_refused():
    net = text_tower.TextTower(num_classes=4, vocabulary=9, context=6, width=8, depth=1, heads=2)
    with pytest.raises(UserError, match="6 tokens"):
        jax.eval_shape(lambda: net.init(jax.random.key(0), np.zeros((2, 5), int)))
