"""Figures of label sets against scikit-learn, by class, by group, and at thresholds."""

import json

import numpy as np
import pytest
import set_runs
from sklearn import metrics as sk

from jaxcls import set_metrics
from jaxcls.measure.figures import by_row
from jaxcls.measure.multilabel import decision, figures, redraw

NAMES = list("abcde")


@pytest.fixture(scope="module")
def split():
    return set_runs.draw(300, 5, scale=1.5, bias=1.0)


def test_at_a_half_they_are_scikit_learns(split):
    logits, label = split
    found = figures.figures(logits, label, NAMES)
    said, p = logits >= 0, 1 / (1 + np.exp(-logits.astype(np.float64)))
    for kind in ("macro", "micro"):
        rates = sk.precision_recall_fscore_support(label, said, average=kind, zero_division=0)
        assert [found[kind][name] for name in ("precision", "recall", "f1")] == pytest.approx(rates[:3])
    assert found["mAP"] == pytest.approx(sk.average_precision_score(label, p))
    assert found["mAP_micro"] == pytest.approx(sk.average_precision_score(label, p, average="micro"))
    assert found["hamming"] == pytest.approx(sk.hamming_loss(label, said))
    assert found["exact"] == pytest.approx(sk.accuracy_score(label, said))
    assert found["brier"] == pytest.approx(
        np.mean([sk.brier_score_loss(y, x) for y, x in zip(label.T, p.T, strict=True)])
    )
    assert (found["labels"], found["named"]) == pytest.approx((label.sum() / 300, said.sum() / 300))
    for name, value in set_metrics.of_sets(logits, label).items():
        assert found[name] == pytest.approx(value), name
    for c, row in enumerate(by_row(found["per_class"])):
        rates = sk.precision_recall_fscore_support(label[:, c], said[:, c], average="binary", zero_division=0)
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx(rates[:3])
        assert row["roc_auc"] == pytest.approx(sk.roc_auc_score(label[:, c], p[:, c]))
        assert row["average_precision"] == pytest.approx(sk.average_precision_score(label[:, c], p[:, c]))
        assert (row["support"], row["predicted"], row["threshold"]) == (label[:, c].sum(), said[:, c].sum(), 0.5)
        for name in ("average_precision", "f1", "precision", "recall"):
            low, high = row[f"{name}_interval"]
            assert low < row[name] < high
    for name in redraw.WHOLE:
        low, high = found["intervals"][name]
        assert low < found[name] < high


def test_with_a_decision_they_are_of_what_it_names(split):
    logits, label = split
    decided = decision.fit(logits, label, NAMES, f1=True)
    found = figures.figures(logits, label, NAMES, decided)
    p = 1 / (1 + np.exp(-(logits * np.array(decided["scale"]) + np.array(decided["bias"]))))
    limit = np.array([entry["threshold"] for entry in decided["thresholds"]])
    said = p >= limit
    assert found["f1"] == pytest.approx(sk.f1_score(label, said, average="macro"))
    assert found["exact"] == pytest.approx(sk.accuracy_score(label, said))
    assert found["per_class"]["threshold"] == limit.tolist()
    assert found["mAP"] == pytest.approx(sk.average_precision_score(label, p))
    assert found["mAP_micro"] == pytest.approx(sk.average_precision_score(label, p, average="micro"))
    assert found["loss"] == pytest.approx(np.mean([sk.log_loss(y, x) for y, x in zip(label.T, p.T, strict=True)]))


def test_what_is_not_finite_is_all_wrong_and_json_is_strict(split):
    logits, label = (x.copy() for x in split)
    logits[3], logits[7, 2], label[:, 4] = np.nan, np.inf, 0
    found = figures.figures(logits, label, NAMES)
    reference = set_metrics.of_sets(logits, label)
    for name in ("mAP", "f1", "f1_micro", "hamming", "exact"):
        assert found[name] == pytest.approx(reference[name]), name
    assert found["not_finite"] == 2 and found["loss"] is None
    row = by_row(found["per_class"])[4]
    assert row["support"] == 0 and row["recall"] is row["f1"] is row["average_precision"] is row["roc_auc"] is None
    json.dumps(found, allow_nan=False)


def test_no_label_at_all_is_measured_too():
    logits, label = set_runs.draw(30, 3)
    found = figures.figures(logits, label * 0, list("abc"))
    assert found["mAP"] is None and found["interval"] is None and found["labels"] == 0
    json.dumps(found, allow_nan=False)


def test_groups_have_figures_of_their_own(split):
    logits, label = split
    groups = np.array(["x", "y", ""])[np.arange(300) % 3]
    rows = figures.group_table(logits, label, groups.tolist())
    assert [row["value"] for row in rows] == ["x", "y", "(none)"]
    mine = groups == "y"
    assert rows[1]["count"] == 100
    assert rows[1]["f1_micro"] == pytest.approx(sk.f1_score(label[mine], logits[mine] >= 0, average="micro"))
    assert rows[1]["mAP"] == pytest.approx(sk.average_precision_score(label[mine], logits[mine]))
    assert rows[1]["interval"][0] < rows[1]["f1_micro"] < rows[1]["interval"][1]


def test_a_redraw_is_the_figure_of_the_pictures_it_drew():
    logits, label = set_runs.draw(40, 3, seed=4)
    logits = logits.round(0)  # ties
    said = redraw.Answers(logits, logits >= 0, label > 0)
    rng = np.random.default_rng(7)
    found = redraw.redrawn([said], 5, seed=7)[0]
    for i in range(5):
        rows = rng.integers(0, 40, 40)
        y, z = label[rows], logits[rows]
        there = y.any(axis=0)
        assert found["mAP"][i] == pytest.approx(sk.average_precision_score(y[:, there], z[:, there]))
        assert found["f1_micro"][i] == pytest.approx(sk.f1_score(y, z >= 0, average="micro"))
        assert found["exact"][i] == pytest.approx(sk.accuracy_score(y, z >= 0))


def test_the_interval_of_the_map_is_that_of_redraws(split):
    logits, label = split
    redrawn = redraw.redrawn([redraw.Answers(logits, logits >= 0, label > 0)], 1000)[0]["mAP"]
    low, high = set_metrics.interval(set_metrics.of_sets(logits, label))
    assert np.std(redrawn) == pytest.approx((high - low) / 3.92, rel=0.15)


def test_intervals_hold_what_many_pictures_would_show():
    """20 of 2,000 pictures have a class, hard to find: percentiles of redraws held the truth in 24 of 40 sets."""
    rng = np.random.default_rng(0)

    def draw(n):
        label = rng.random((n, 4)) < 0.01
        return rng.normal(size=(n, 4)) + 0.7 * label, label

    true, held = sk.average_precision_score(*draw(400_000)[::-1]), 0
    for _ in range(40):
        scores, label = draw(2000)
        said = redraw.Answers(scores, scores > 0, label)
        figure = float(redraw.figures(said)["mAP"])
        low, high = redraw.interval(redraw.redrawn([said], 200)[0]["mAP"], figure)
        held += low <= true <= high
        assert 0 <= low <= figure <= high <= 1
    assert held >= 36


def test_redraws_end_where_they_would_take_minutes():
    assert redraw.draws(1000, 10) == redraw.MOST and redraw.draws(5 * 10**4, 20) == redraw.LEAST
    assert redraw.draws(10**6, 100) == 0
