"""Drops where a column is shuffled: against their expectation in closed form, on nets written by hand."""

import numpy as np
import pytest

from jaxcls.training import importance

PLACES = {"bit": slice(0, 2), "age": slice(2, 4)}


@pytest.fixture(scope="module")
def rows():
    """(features of pictures [n, 1], numbers of columns [n, 4], parity of both [n])."""
    rng = np.random.default_rng(0)
    picture, bit = rng.random((400, 1)) < 0.3, rng.random(400) < 0.2
    told = np.stack([~bit, bit, rng.normal(size=400), np.zeros(400)], axis=1).astype(np.float32)
    return picture.astype(np.float32), told, picture[:, 0] ^ bit


def parity(picture, told):
    right = picture[:, 0].astype(bool) ^ told[:, 1].astype(bool)
    return np.stack([~right, right], axis=1).astype(np.float32)


def unlike(values):
    """The chance that two rows differ, of which one is drawn for the other by a permutation."""
    share = np.bincount(values) / len(values)
    return 1 - (share**2).sum()


def test_drops_are_those_of_the_closed_form(rows):
    picture, told, label = rows
    seeds = 200
    found = importance.drops(parity, picture, told, label.astype(int), PLACES, seeds)
    assert (found["rows"], found["shuffles"], found["accuracy"]) == (400, seeds, 1.0)
    drops = found["drops"]
    for name, values in (("bit", told[:, 1]), ("all columns", told[:, 1]), ("picture", picture[:, 0])):
        error = drops[name]["sd"] / seeds**0.5
        assert 0 < error < 0.003 and abs(drops[name]["mean"] - unlike(values.astype(int))) < 4 * error, name
    assert drops["age"] == {"mean": 0.0, "sd": 0.0}


def test_sets_of_labels_count_class_by_class(rows):
    picture, told, label = rows
    sets = np.stack([label, told[:, 1] > 0], axis=1).astype(np.uint8)

    def ask(picture, told):
        return np.stack([parity(picture, told)[:, 1], told[:, 1]], axis=1) - 0.5

    drops = importance.drops(ask, picture, told, sets, PLACES, 100)["drops"]
    assert drops["bit"]["mean"] == pytest.approx(unlike((told[:, 1]).astype(int)), abs=0.01)  # of both classes
    assert drops["picture"]["mean"] == pytest.approx(unlike(picture[:, 0].astype(int)) / 2, abs=0.01)  # of one


def test_a_line_for_people():
    told = {"importance": {"drops": {"age": {"mean": 0.123, "sd": 0.01}, "picture": {"mean": 0.5, "sd": 0}}}}
    assert importance.line(told).endswith("shuffled: age 12.3 ± 1.0, picture 50.0 ± 0.0") and importance.line({}) == ""
