"""config.nas: which rows teach what, and a search as a run that is interrupted."""

import types

import numpy as np
import pytest

from jaxcls.data import pipeline
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.training import architecture


def settings(**given):
    config = default_config()
    config.batch_size, config.nas.ratio = 12, 2
    for key, value in given.items():
        setattr(config.nas if hasattr(config.nas, key) else config, key, value)
    return config


def source(labels):
    return types.SimpleNamespace(labels=np.asarray(labels))


def test_rows_of_the_reward_are_a_share_of_each_class_and_stand_in_every_block():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    held = architecture.held_rows(labels, 0.2, seed=0)
    assert np.bincount(labels[held]).tolist() == [12, 6, 2]
    sampler = architecture.sampler(settings(holdout=0.2, accumulate=1), source(labels))
    order = sampler(0, 0, len(sampler))
    blocks = np.isin(order.reshape(-1, 6), held)
    assert blocks[:, :2].all() and not blocks[:, 2:].any()
    assert len(set(order[~np.isin(order, held)])) == len(sampler) * 2 // 3 == 80  # an epoch: each weight row once
    assert set(order[np.isin(order, held)]) == set(held)
    assert not np.array_equal(order, sampler(0, 1, len(sampler)))
    assert pipeline.order(0, 0, 3) is not None


def test_every_micro_batch_has_both_kinds():
    from jaxcls.training.step import split_batch

    labels = np.repeat([0, 1], 60)
    held = architecture.held_rows(labels, 0.5, seed=0)
    sampler = architecture.sampler(settings(accumulate=2), source(labels))
    parts = split_batch({"row": sampler(0, 0, len(sampler))[:12]}, 2)["row"]
    assert np.isin(parts.reshape(2, 6), held).tolist() == [[True, True, False, False, False, False]] * 2


@pytest.mark.parametrize(
    "given, labels, message",
    [
        ({"holdout": 0.3}, [0, 0, 0], "leaves 1 of 3 training pictures for the reward"),
        ({"holdout": 0.7}, [0, 0, 0], "leaves 1 of 3 training pictures for the weights"),
        ({"batch_size": 10}, [0] * 50, "config.batch_size 10 can't be divided by 6.* try 12"),
        ({"batch_size": 48}, [0] * 50, "takes 32 pictures for the weights, and there are 25"),
        ({}, np.eye(3)[[0, 1, 2] * 9], "sets of labels"),
    ],
)
def test_batches_that_cannot_be_are_told(given, labels, message):
    with pytest.raises(UserError, match=message):
        architecture.sampler(settings(**given), source(labels))
