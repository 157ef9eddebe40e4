"""Processes that are not of one kind are told at the start: which one, and in what."""

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from jaxcls.data.base import ArraySource
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.training import alike


class Two:
    """Stands for two processes: what the other one has is `changed` of what this one has."""

    def __init__(self, monkeypatch):
        self.changed = lambda facts: facts
        for name, value in {"process_count": 2, "process_index": 0}.items():
            monkeypatch.setattr(jax, name, lambda value=value: value)
        monkeypatch.setattr(alike, "_compare", self.compare)
        monkeypatch.setattr(multihost_utils, "broadcast_one_to_all", lambda x: x)

    def compare(self, facts):
        if line := alike.difference([facts, self.changed(dict(facts))]):
            raise UserError(line)


@pytest.fixture
def two(monkeypatch):
    return Two(monkeypatch)


def test_a_difference_names_the_process_and_the_thing(two):
    config = default_config().to_dict()
    alike.check_config(config)
    for change, line in (
        (
            {"config.seed": "1"},
            "process 1 of 2 is not like process 0: config.seed is 1 there and 0 on process 0; start all",
        ),
        ({"the version of jax": "0.1"}, "the version of jax is 0.1 there"),
        ({"the code of jaxcls": "0"}, "the code of jaxcls is 0 there"),
        ({"config.new": "2"}, "config.new is 2 there and not there on process 0"),
    ):
        two.changed = lambda facts, change=change: facts | change
        with pytest.raises(UserError) as error:
            alike.check_config(config)
        assert line in str(error.value) and "\n" not in str(error.value)


def test_what_a_machine_may_have_of_its_own_is_not_compared(two):
    seen = []
    two.changed = lambda facts: seen.append(set(facts)) or facts
    alike.check_config(default_config().to_dict())
    assert not seen[0] & set(alike.OWN) and {"config.data.name", "config.batch_size", "config.optim.b1"} <= seen[0]


def test_other_pictures_are_told_and_the_fingerprint_is_that_of_process_0(two):
    def source(names, labels=(0, 1, 0)):
        images = np.zeros((3, 2, 2, 1), np.uint8)
        return {"train": ArraySource(images, np.array(labels), ("cat", "dog"), list(names))}

    found = source("abc")
    alike.check_pictures(found)
    assert vars(found["train"])["fingerprint"] == source("abc")["train"].fingerprint
    facts = []
    for other in (source("abd"), source("abc", (0, 1, 1)), source("abc")):
        two.changed = lambda now: facts.append(now) or now
        alike.check_pictures(other)
    for other, what in ((0, "the names of the train pictures"), (1, "the labels of train")):
        assert what in alike.difference([facts[2], facts[other]])


def test_one_process_compares_nothing(monkeypatch):
    monkeypatch.setattr(alike, "_compare", lambda _: pytest.fail("nothing to compare"))
    alike.check_config(default_config().to_dict())
    alike.check_pictures({})
