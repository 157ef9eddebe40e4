"""Thresholds against trying all of them; costs against their closed form; what is stored and read again."""

import json

import numpy as np
import pytest
import workdirs
from hypothesis import assume, given
from hypothesis import strategies as st

from jaxcls.errors import UserError
from jaxcls.measure import calibration, decision, outcome, stored
from jaxcls.metrics import wilson_interval

scored = st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=1, max_size=40)


def arrays(pairs):
    return np.array([s for s, _ in pairs]) / 10, np.array([p for _, p in pairs])


def every_threshold(scores, positive):
    """(recall, precision) by the number of distinct scores called positive, most of them last."""
    for limit in np.unique(scores)[::-1]:
        called = scores >= limit
        yield (positive & called).sum() / positive.sum(), positive[called].mean()


@given(scored, st.integers(1, 100))
def test_a_recall_is_reached_with_as_few_flagged_as_possible(pairs, percent):
    scores, positive = arrays(pairs)
    assume(positive.any())
    called = scores >= decision.choose(scores, positive, "recall", percent / 100)
    assert (positive & called).sum() / positive.sum() >= percent / 100 - 1e-9
    best = max(p for r, p in every_threshold(scores, positive) if r >= percent / 100 - 1e-9)
    fewest = min(
        (scores >= limit).sum()
        for limit in scores
        if (positive & (scores >= limit)).sum() / positive.sum() >= percent / 100 - 1e-9
    )
    assert called.sum() == fewest and positive[called].mean() <= best


@given(scored, st.integers(1, 100))
def test_a_precision_is_reached_with_the_highest_recall_or_the_best_is_told(pairs, percent):
    scores, positive = arrays(pairs)
    assume(positive.any())
    possible = list(every_threshold(scores, positive))
    reaching = [r for r, p in possible if p >= percent / 100 - 1e-9]
    if not reaching:
        best = max(p for _, p in possible)
        with pytest.raises(UserError, match=f"is not reached for 'b' on validation: at best {best:.4g}"):
            decision.choose(scores, positive, "precision", percent / 100, "b")
        return
    called = scores >= decision.choose(scores, positive, "precision", percent / 100)
    assert positive[called].mean() >= percent / 100 - 1e-9
    assert (positive & called).sum() / positive.sum() == pytest.approx(max(reaching))


def test_a_threshold_lies_midway_and_rounding_changes_no_answer():
    scores, positive = np.array([0.9, 0.7, 0.4, 0.1]), np.array([True, True, False, False])
    assert decision.choose(scores, positive, "recall", 1.0) == pytest.approx(0.55)
    assert decision.choose(np.array([0.5, 0.5]), np.array([True, False]), "recall", 1.0) == pytest.approx(0.25)


def test_a_positive_that_is_nan_can_not_be_found():
    scores, positive = np.array([0.9, np.nan, 0.1]), np.array([True, True, False])
    with pytest.raises(UserError, match="recall of 1 is not reached for 'b' on validation: at best 0.5"):
        decision.choose(scores, positive, "recall", 1.0, "b")
    assert decision.choose(scores, positive, "recall", 0.5) == pytest.approx(0.5)


def entry(index, threshold):
    return {"class": f"a{index}", "index": index, "kind": "recall", "wanted": 0.9, "threshold": threshold}


def test_the_rules_of_deciding():
    p = np.array([[0.6, 0.3, 0.1], [0.8, 0.15, 0.05], [0.1, 0.3, 0.6], [0.34, 0.33, 0.33], [np.nan] * 3])
    assert decision.decide(None, p).tolist() == [0, 0, 2, 0, -1]
    assert decision.decide({"thresholds": [entry(1, 0.2)]}, p).tolist() == [1, 0, 1, 1, -1]
    # not reached: the best of the others, though it was first
    assert decision.decide({"thresholds": [entry(0, 0.7)]}, p).tolist() == [1, 0, 2, 1, -1]
    # both reached: the more probable; neither: the third
    both = {"thresholds": [entry(1, 0.3), entry(2, 0.5)]}
    assert decision.decide(both, p).tolist() == [1, 0, 2, 1, -1]
    every = {"thresholds": [entry(i, 0.7) for i in range(3)]}
    assert decision.decide(every, p).tolist() == [0, 0, 2, 0, -1]
    zero = {"thresholds": [entry(2, 0.0)]}
    assert decision.decide(zero, p).tolist() == [2, 2, 2, 2, -1]


@given(st.integers(2, 5), st.integers(0, 2**32))
def test_costs_give_the_least_expected_cost(classes, seed):
    rng = np.random.default_rng(seed)
    costs = rng.random((classes, classes)) * (1 - np.eye(classes))
    p = rng.dirichlet(np.ones(classes), 20)
    answer = decision.decide({"costs": costs.tolist()}, p)
    for row, found in zip(p, answer, strict=True):
        expected = [sum(row[t] * costs[t][a] for t in range(classes)) for a in range(classes)]
        assert expected[found] == pytest.approx(min(expected))


def test_costs_of_two_classes_are_a_threshold():
    """Missing costs 9, a false alarm 1: alarm from a probability of 1 / 10."""
    p = np.array([[0.89, 0.11], [0.91, 0.09]])
    assert decision.decide({"costs": [[0, 1], [9, 0]]}, p).tolist() == [1, 0]
    assert outcome.expected_cost([[0, 1], [9, 0]], np.array([1, 0, -1]), np.array([0, 1, 1])) == 5.0
    assert outcome.expected_cost([[0, 1], [9, 0]], np.array([-1]), np.array([0])) is None


def test_a_fit_measures_what_its_answers_are():
    logits, label = workdirs.draw(600, 3, ahead=1.0)
    fitted = decision.fit(logits, label, ["x", "y", "z"], wanted=[("recall", "y", 0.95)])
    assert fitted["temperature"] == calibration.fit_temperature(logits, label)
    assert fitted["nll"]["after"] <= fitted["nll"]["before"]
    assert fitted["nll"]["after"] == pytest.approx(calibration.nll(logits, label, fitted["temperature"]))
    p = decision.probabilities(fitted, logits)
    np.testing.assert_allclose(p, calibration.probabilities(logits, fitted["temperature"]))
    answer = decision.decide(fitted, p)
    row = decision.measure(fitted, logits, label)[0]
    found, called = int((answer[label == 1] == 1).sum()), int((answer == 1).sum())
    assert (row["found"], row["positives"], row["flagged"]) == (found, 200, called)
    assert found >= 190 and row["recall"] == found / 200 and row["precision"] == found / called
    assert row["recall_interval"] == list(wilson_interval(found, 200))
    nothing = outcome.of_answers(fitted["thresholds"], np.zeros(2), np.zeros(2))[0]
    assert [nothing[k] for k in ("recall", "recall_interval", "precision", "precision_interval")] == [None] * 4


@pytest.mark.parametrize(
    "wanted, costs, message",
    [
        ([("recall", "q", 0.9)], None, "there is no class 'q'; there are: a0, a1, a2"),
        ([("recall", "a2", 0.9)], None, "no picture of validation is of class 'a2'"),
        ([("recall", "a0", 1.5)], None, "1.5 is no share"),
        ([("recall", "a0", 0.9), ("precision", "a0", 0.9)], None, "'a0' has two thresholds"),
        ([("recall", "a0", 0.9)], np.zeros((3, 3)), "not both"),
        ([], np.zeros((2, 2)), "2 x 2 numbers; 3 classes need 3 x 3"),
        ([], np.full((3, 3), np.nan), "no finite number"),
        ([], [[0, 1, 1], [1, 2, 1], [1, 1, 0]], "calling 'a1' 'a0' costs less than calling it rightly"),
    ],
)
def test_what_cannot_be_fitted_is_said(wanted, costs, message):
    logits, label = workdirs.draw(20, 3)
    label = np.where(label == 2, 0, label)
    with pytest.raises(UserError, match=message):
        decision.fit(logits, label, ["a0", "a1", "a2"], wanted=wanted, costs=costs)


def test_what_is_saved_is_read_as_it_was(tmp_path):
    logits, label = workdirs.draw(60, 3, ahead=1)
    fitted = decision.fit(logits, label, ["a", "b", "c"], wanted=[("recall", "b", 0.9)])
    saved = decision.save(tmp_path, 7, fitted)
    assert decision.read(tmp_path, 7) == saved and (saved["step"], saved["split"]) == (7, "validation")
    assert decision.read(tmp_path, 8) is None
    np.testing.assert_array_equal(
        decision.decide(decision.read(tmp_path, 7), decision.probabilities(saved, logits)),
        decision.decide(fitted, decision.probabilities(fitted, logits)),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0},
        {"temperature": None},
        {"thresholds": [{"index": 5}]},
        {"classes": 3},
        {"costs": [[1]]},
        {"thresholds": None},
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change):
    logits, label = workdirs.draw(12, 3)
    fitted = decision.save(tmp_path, 7, decision.fit(logits, label, ["a", "b", "c"]))
    decision.path(tmp_path, 7).write_text(json.dumps(fitted | change))
    with pytest.raises(UserError, match=r"7.json is damaged"):
        decision.read(tmp_path, 7)
    decision.path(tmp_path, 7).write_text("{")
    with pytest.raises(UserError, match="damaged"):
        decision.read(tmp_path, 7)


def test_what_cannot_be_written_is_said(tmp_path):
    (tmp_path / "calibration").write_text("")
    with pytest.raises(UserError, match="can't be written"):
        decision.save(tmp_path, 1, {})


def test_a_run_is_fitted_once_and_again_where_its_logits_changed(tmp_path):
    logits, label = workdirs.draw(60, 3, ahead=1)
    run = workdirs.write(tmp_path / "run", {"validation": (logits, label)}, classes=["x", "y", "z"])
    assert decision.fit_run(run, 11) is None
    fitted = decision.fit_run(run, 10)
    assert fitted == decision.read(run, 10) and fitted["classes"] == ["x", "y", "z"] and fitted["thresholds"] == []
    chosen = decision.fit(logits, label, ["x", "y", "z"], wanted=[("recall", "y", 0.9)])
    decision.save(run, 10, {**chosen, "fingerprint": stored.fingerprint(stored.read_logits(run, "validation", 10))})
    assert len(decision.fit_run(run, 10)["thresholds"]) == 1  # the same logits: what was chosen stays
    other = workdirs.write(tmp_path / "other", {"validation": workdirs.draw(60, 3, seed=5)})
    (other / "eval/validation-10.npz").replace(run / "eval/validation-10.npz")
    assert decision.fit_run(run, 10)["thresholds"] == []


def test_the_interval_of_a_cost_is_that_of_the_bootstrap_and_covers_a_mean():
    """Against redraws of the pictures themselves, and for costs of one kind against the exact share."""
    rng = np.random.default_rng(0)
    label, answer = rng.integers(0, 3, 400), rng.integers(0, 3, 400)
    costs = np.array([[0, 1, 5], [2, 0, 3], [1, 1, 0]])
    spent = costs[label, answer]
    plain = np.quantile([spent[rng.integers(0, 400, 400)].mean() for _ in range(4000)], [0.025, 0.975])
    np.testing.assert_allclose(outcome.cost_interval(costs, answer, label), plain, atol=0.03)
    assert outcome.cost_interval(costs, np.full(400, -1), label) is None
    assert outcome.cost_interval(np.ones((3, 3)), answer, label) == [1.0, 1.0]
