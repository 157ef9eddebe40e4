"""Figures by a tree of classes against brute force, closed forms and scikit-learn."""

import class_trees
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import top_k_accuracy_score

from jaxcls.data import class_tree
from jaxcls.errors import UserError
from jaxcls.measure import calibration, decision, hierarchy
from jaxcls.measure.softmax import Softmax
from jaxcls.metrics import wilson_interval

TWO = {"a": "x", "b": "x", "c": "y", "d": "y", "x": "top", "y": "top"}


def two():
    """Four classes in two pairs."""
    return class_tree.build(TWO, ("a", "b", "c", "d"), "tree")


def tree_of(pairs):
    parents, classes = pairs
    try:
        return class_tree.build(parents, classes, "tree")
    except UserError:
        return None


@given(class_trees.pairs(), st.integers(0, 2**32 - 1), st.sampled_from([1.0, 0.3, 4.0]))
def test_figures_are_those_of_brute_force(pairs, seed, temperature):
    parents, classes = pairs
    tree = tree_of(pairs)
    assume(tree is not None)
    rng = np.random.default_rng(seed)
    n, k = 23, len(classes)
    logits, label = rng.normal(size=(n, k)).astype(np.float32), rng.integers(0, k, n)
    of = hierarchy.figures(Softmax(logits, temperature), label, tree)
    probability, answer = calibration.probabilities(logits, temperature), logits.argmax(axis=1)
    ways = [class_trees.ancestors(parents, name)[-2::-1] for name in classes]
    for row in of["levels"]:
        at = [way[min(row["level"] - (tree.roots > 1), len(way) - 1)] for way in ways]
        sums = [{name: 0.0 for name in at} for _ in range(n)]
        for i in range(n):
            for c in range(k):
                sums[i][at[c]] += probability[i, c]
        hits = sum(max(sums[i], key=sums[i].get) == at[label[i]] for i in range(n))
        assert row["groups"] == len(set(at)) and row["accuracy"] == pytest.approx(hits / n)
        assert row["interval"] == list(wilson_interval(hits, n))
        assert row["of_answer"] == pytest.approx(np.mean([at[a] == at[t] for a, t in zip(answer, label, strict=True)]))
    assert of["levels"][-1]["accuracy"] == (answer == label).mean()

    def severity(a, b):
        return class_trees.height(parents, classes, class_trees.meeting(parents, a, b)) if a != b else 0

    wrong = [(classes[t], classes[a]) for t, a in zip(label, answer, strict=True) if t != a]
    assert of["mistakes"] == len(wrong)
    assert of["cost"] == pytest.approx(sum(severity(*pair) for pair in wrong) / n)
    if wrong:
        assert of["severity"] == pytest.approx(np.mean([severity(*pair) for pair in wrong]))
        assert of["edges"] == pytest.approx(np.mean([class_trees.edges(parents, *pair) for pair in wrong]))
        assert of["severity_interval"][0] <= of["severity"] <= of["severity_interval"][1]
        assert of["same_parent"] == pytest.approx(np.mean([parents[a] == parents[b] for a, b in wrong]))
    first = np.argsort(-logits, axis=1)[:, :5]
    assert of["top5"] == pytest.approx(
        np.mean([[severity(classes[t], classes[c]) for c in row] for t, row in zip(label, first, strict=True)])
    )
    added = [row["number"] * row["severity"] for row in of["across"]]
    assert added == sorted(added, reverse=True)
    if len(set(wrong)) <= hierarchy.ACROSS:
        assert sum(added) == pytest.approx(of["cost"] * n)
        assert {(row["true"], row["answer"]) for row in of["across"]} == set(wrong)


def test_of_two_pairs_in_closed_form():
    """Ten pictures of a: five right, three taken for b, two for c."""
    tree, said = two(), np.repeat([0, 1, 2], [5, 3, 2])
    of = hierarchy.figures(Softmax(np.eye(4)[said] * 9), np.zeros(10, int), tree)
    assert [(row["level"], row["groups"], row["accuracy"]) for row in of["levels"]] == [(1, 2, 0.8), (2, 4, 0.5)]
    assert (of["mistakes"], of["severity"], of["edges"], of["same_parent"]) == (5, 7 / 5, 14 / 5, 3 / 5)
    assert of["cost"] == 7 / 10 and of["same_parent_interval"] == list(wilson_interval(3, 5))
    assert of["across"] == [
        {"true": "a", "answer": "c", "number": 2, "meeting": "top", "severity": 2},
        {"true": "a", "answer": "b", "number": 3, "meeting": "x", "severity": 1},
    ]


def test_summed_probabilities_answer_where_the_classes_of_a_group_share_them():
    p = np.array([[0.3, 0.3, 0.4, 0.0], [0.1, 0.2, 0.3, 0.4]])
    with np.errstate(divide="ignore"):
        of = hierarchy.figures(Softmax(np.log(p)), np.array([0, 2]), two())
    assert of["levels"][0]["accuracy"] == 1.0 and of["levels"][0]["of_answer"] == 0.5
    assert of["levels"][1]["accuracy"] == 0.0


def test_the_last_level_is_the_plain_accuracy_and_the_tree_of_all_ties_is_chance():
    rng = np.random.default_rng(0)
    logits, label = rng.normal(size=(400, 4)), np.arange(400) % 4
    of = hierarchy.figures(Softmax(logits), label, two())
    assert of["levels"][-1]["accuracy"] == top_k_accuracy_score(label, logits, k=1)
    flat = hierarchy.figures(Softmax(np.zeros((400, 4))), label, two())
    assert flat["levels"][0]["accuracy"] == 0.5 and flat["cost"] == (0 + 1 + 2 + 2) / 4
    assert flat["cost"] == flat["top5"]  # of four classes: all of them, in whatever order


def test_rows_that_are_not_finite_are_wrong_and_no_mistakes():
    logits = np.eye(4)[[0, 1, 2, 3]] * 9
    logits[1:3] = [[np.nan], [np.inf]]
    of = hierarchy.figures(Softmax(logits), np.array([0, 1, 2, 2]), two())
    assert [row["accuracy"] for row in of["levels"]] == [0.5, 0.25] and of["mistakes"] == 1
    assert of["severity"] == 1 and of["cost"] == 0.5
    nothing = hierarchy.figures(Softmax(logits * np.nan), np.zeros(4, int), two())
    assert [row["accuracy"] for row in nothing["levels"]] == [0, 0]
    undefined = ("severity", "severity_interval", "edges", "cost", "top5", "same_parent")
    assert nothing["mistakes"] == 0 and [nothing[key] for key in undefined] == [None] * 6


def test_without_mistakes_there_is_nothing_to_average():
    of = hierarchy.figures(Softmax(np.eye(4) * 9), np.arange(4), two())
    assert (of["severity"], of["severity_interval"], of["same_parent"], of["across"]) == (None, None, None, [])
    assert of["cost"] == 0 and of["cost_interval"] == [0, 0]


def test_intervals_hold_about_as_often_as_they_say():
    """Of 300 samples of 200 pictures, a mistake in 0.4 of them, of severity 1 or 2 alike: 1.5 lies within 95 %."""
    rng, within = np.random.default_rng(0), 0
    for seed in range(300):
        values, wrong = rng.integers(1, 3, 200), rng.random(200) < 0.4
        low, high = hierarchy.mean_of_mistakes(values, wrong, draws=300, seed=seed)[1]
        within += low <= 1.5 <= high
    assert 0.91 <= within / 300 <= 0.98


@given(st.integers(0, 2**32 - 1))
def test_least_expected_distance_is_chosen_by_costs_of_the_tree(seed):
    rng = np.random.default_rng(seed)
    logits, label = rng.normal(size=(60, 4)).astype(np.float32) * 2, np.arange(60) % 4
    tree = two()
    decided = decision.fit(logits, label, tree.classes, costs=hierarchy.costs(tree))
    probability = decision.probabilities(decided, logits)
    expected = [
        [sum(p[t] * tree.severity(np.array(t), np.array(a)) for t in range(4)) for a in range(4)] for p in probability
    ]
    assert decision.decide(decided, probability).tolist() == np.argmin(np.round(expected, 12), axis=1).tolist()


def test_costs_of_too_many_classes_are_refused():
    names = [f"c{i}" for i in range(hierarchy.MOST + 1)]
    tree = class_tree.build({name: str(i % 2) for i, name in enumerate(names)}, names, "tree")
    with pytest.raises(UserError, match="5,001 classes have 25,010,001 costs; a matrix is made of up to 5,000"):
        hierarchy.costs(tree)
