"""The figures of a split against scikit-learn, counting by hand and the figures that training reports."""

import json
import math

import numpy as np
import pytest
import workdirs
from hypothesis import given, settings
from sklearn import metrics as sk
from splits import is_finite, names, splits

from jaxcls.measure import calibration, confusion, curves, figures
from jaxcls.metrics import of_logits, wilson_interval


@settings(max_examples=60)
@given(splits())
def test_figures_equal_scikit_learn(split):
    logits, label = split
    classes = logits.shape[1]
    out = figures.figures(logits, label, names(logits))
    json.dumps(out, allow_nan=False)
    predicted = np.where([is_finite(row) for row in logits], np.nan_to_num(logits).argmax(1), classes)
    there = np.unique(label)
    assert out["accuracy"] == pytest.approx(sk.accuracy_score(label, predicted))
    expected = sk.confusion_matrix(label, predicted, labels=range(classes + 1))
    table = confusion.from_json(json.loads(json.dumps(out["confusion"])), classes)
    np.testing.assert_array_equal(table.dense(), expected[:-1])
    assert (table.number > 0).all() and table.number[table.predicted < 0].sum() == out["not_finite"]
    for kind in ("macro", "weighted"):
        found = sk.precision_recall_fscore_support(label, predicted, labels=there, average=kind, zero_division=0)
        assert [out[kind][key] for key in ("precision", "recall", "f1")] == pytest.approx(found[:3])
    assert out["balanced_accuracy"] == pytest.approx(
        sk.recall_score(label, predicted, labels=there, average="macro", zero_division=0)
    )
    if out["kappa"] is not None:
        assert out["kappa"] == pytest.approx(sk.cohen_kappa_score(label, predicted))
    if out["mcc"] is not None:
        assert out["mcc"] == pytest.approx(sk.matthews_corrcoef(label, predicted))


@settings(max_examples=60)
@given(splits())
def test_what_is_by_class_equals_scikit_learn(split):
    logits, label = split
    out = figures.figures(logits, label, names(logits))
    good = np.array([is_finite(row) for row in logits])
    probability = np.full(logits.shape, -1.0)  # behind all others
    probability[good] = calibration.probabilities(logits[good])
    predicted = figures.predict(logits)
    for i, row in enumerate(figures.by_row(out["per_class"])):
        mine, called = label == i, predicted == i
        assert (row["support"], row["predicted"]) == (mine.sum(), called.sum())
        hits = int((mine & called).sum())
        assert row["recall"] == (pytest.approx(hits / mine.sum()) if mine.any() else None)
        assert row["precision"] == (pytest.approx(hits / called.sum()) if called.any() else None)
        assert row["recall_interval"] == (list(wilson_interval(hits, int(mine.sum()))) if mine.any() else None)
        assert row["f1"] == (
            pytest.approx(sk.f1_score(mine, called, zero_division=0)) if mine.any() or called.any() else None
        )
        scores = probability[:, i]
        if 0 < mine.sum() < len(mine):
            assert row["roc_auc"] == pytest.approx(sk.roc_auc_score(mine, scores))
        else:
            assert row["roc_auc"] is None
        if mine.any():
            assert row["average_precision"] == pytest.approx(sk.average_precision_score(mine, scores))
        else:
            assert row["average_precision"] is None


@settings(max_examples=60)
@given(splits())
def test_accuracy_top5_and_loss_are_those_of_training(split):
    logits, label = split
    out, expected = figures.figures(logits, label, names(logits)), of_logits(logits, label)
    assert (out["count"], out["correct"], out["accuracy"]) == tuple(
        expected[key] for key in ("count", "correct", "accuracy")
    )
    assert out["interval"] == list(wilson_interval(out["correct"], out["count"]))
    assert out.get("top5") == pytest.approx(expected.get("top5"))
    assert out["loss"] == (pytest.approx(expected["loss"]) if math.isfinite(expected["loss"]) else None)


def test_the_means_of_a_finished_split_equal_scikit_learn():
    logits, label = workdirs.draw(300, 6)
    out = figures.figures(logits, label, names(logits))
    probability = calibration.probabilities(logits)
    assert out["roc_auc"] == pytest.approx(sk.roc_auc_score(label, probability, multi_class="ovr"))
    assert out["average_precision"] == pytest.approx(sk.average_precision_score(np.eye(6)[label], probability))
    assert out["brier"] == pytest.approx(((probability - np.eye(6)[label]) ** 2).sum(1).mean())
    assert out["loss"] == pytest.approx(sk.log_loss(label, probability))
    assert out["top5"] == pytest.approx(sk.top_k_accuracy_score(label, logits, k=5))


def test_two_classes_have_the_binary_area():
    logits, label = workdirs.draw(120, 2, ahead=0.8)
    out = figures.figures(logits, label, ["no", "yes"])
    assert out["roc_auc"] == pytest.approx(sk.roc_auc_score(label, logits[:, 1] - logits[:, 0]))
    assert "top5" not in out and out["per_class"]["name"] == ["no", "yes"]


def test_intervals_are_those_of_redrawing_pictures_within_their_classes():
    logits, label = workdirs.draw(240, 3, ahead=1)
    label = np.where((label == 2) & (np.arange(240) < 180), 0, label)  # a rare class
    out = figures.figures(logits, label, names(logits))
    predicted, rng = logits.argmax(1), np.random.default_rng(5)
    measures = {"balanced_accuracy": sk.recall_score, "macro_f1": sk.f1_score, "kappa": None, "mcc": None}
    found = {name: [] for name in measures}
    for _ in range(200):
        rows = np.concatenate([rng.choice(np.flatnonzero(label == c), (label == c).sum()) for c in range(3)])
        for name in ("balanced_accuracy", "macro_f1"):
            found[name].append(measures[name](label[rows], predicted[rows], average="macro"))
        found["kappa"].append(sk.cohen_kappa_score(label[rows], predicted[rows]))
        found["mcc"].append(sk.matthews_corrcoef(label[rows], predicted[rows]))
    for name, values in found.items():
        low, high = out["intervals"][name]
        assert [low, high] == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.03)
    assert out["intervals"]["mcc"][0] < out["mcc"] < out["intervals"]["mcc"][1]


def test_the_area_of_two_classes_has_an_interval():
    logits, label = workdirs.draw(120, 2, ahead=0.8)
    out = figures.figures(logits, label, ["no", "yes"])
    low, high = out["intervals"]["roc_auc"]
    assert low < out["roc_auc"] < high
    alone = figures.figures(logits, np.zeros(120, int), ["no", "yes"])["intervals"]
    assert (alone["roc_auc"], alone["mcc"]) == (None, None)
    assert alone["balanced_accuracy"] == pytest.approx(
        wilson_interval(int((logits.argmax(1) == 0).sum()), 120), abs=0.03
    )


def test_one_class_alone_leaves_undefined_what_is_undefined():
    out = figures.figures(np.array([[1.0, 0, 0]] * 4), np.zeros(4, int), ["a", "b", "c"])
    assert (out["accuracy"], out["balanced_accuracy"]) == (1.0, 1.0)
    assert [out[key] for key in ("kappa", "mcc", "roc_auc")] == [None] * 3
    assert figures.by_row(out["per_class"])[1] == {
        "name": "b",
        "support": 0,
        "predicted": 0,
        "precision": None,
        "recall": None,
        "recall_interval": None,
        "f1": None,
        "roc_auc": None,
        "average_precision": None,
    }


def test_a_class_never_predicted_counts_as_nothing_found():
    label = np.array([0, 0, 0, 1])
    out = figures.figures(np.array([[1.0, 0.0]] * 4), label, ["a", "b"])
    row = figures.by_row(out["per_class"])[1]
    assert (row["precision"], row["recall"], row["f1"], row["predicted"]) == (None, 0.0, 0.0, 0)
    assert out["macro"]["precision"] == pytest.approx(0.375)  # (3/4 + 0) / 2
    assert (out["balanced_accuracy"], out["kappa"], out["mcc"]) == (0.5, 0.0, None)


def test_rows_that_are_nan_are_wrong_and_told():
    logits, label = workdirs.draw(20, 3, ahead=20)
    logits[4, (label[4] + 1) % 3] = np.nan
    logits[5, label[5]] = np.nan
    out = figures.figures(logits, label, names(logits))
    assert (out["count"], out["correct"], out["not_finite"], out["loss"]) == (20, 18, 2, None)
    assert out["brier"] == pytest.approx(2 / 20, abs=1e-3) and 0.9 < out["roc_auc"] < 1.0
    assert sum(out["per_class"]["support"]) == 20
    all_nan = figures.figures(np.full((3, 2), np.nan), [0, 1, 1], ["a", "b"])
    assert [all_nan[key] for key in ("accuracy", "brier", "roc_auc", "ece")] == [0.0, 1.0, 0.5, None]
    json.dumps(all_nan, allow_nan=False)


def test_a_thousand_classes_equal_scikit_learn():
    logits, label = workdirs.draw(3000, 1000, ahead=3)
    out = figures.figures(logits, label, names(logits))
    probability = calibration.probabilities(logits)
    rows = figures.by_row(out["per_class"])
    assert len(rows) == 1000 and len(out["confusion"]["number"]) <= 3000
    for i in (0, 7, 8, 999):
        row = rows[i]
        assert row["roc_auc"] == pytest.approx(sk.roc_auc_score(label == i, probability[:, i]))
        assert row["average_precision"] == pytest.approx(sk.average_precision_score(label == i, probability[:, i]))
    assert out["mcc"] == pytest.approx(sk.matthews_corrcoef(label, logits.argmax(1)))


def test_the_fast_areas_are_those_of_the_curves():
    probability = np.random.default_rng(3).integers(0, 5, (80, 4)) / 10
    label = np.arange(80) % 3  # the last class is empty
    areas, averages = figures.one_vs_rest(probability, label)
    for i in range(3):
        assert areas[i] == pytest.approx(curves.roc(probability[:, i], label == i)["auc"])
        curve = curves.precision_recall(probability[:, i], label == i)
        assert averages[i] == pytest.approx(curve["average_precision"])
    assert np.isnan([areas[3], averages[3]]).all()


@pytest.mark.parametrize(
    "shape, label, classes",
    [((2, 2), [0, 2], 2), ((2, 2), [0], 2), ((0, 2), [], 2), ((2, 2), [0, -1], 2), ((2, 3), [0, 1], 2)],
)
def test_what_does_not_fit_is_refused(shape, label, classes):
    with pytest.raises(ValueError, match="fit|classes|columns"):
        figures.figures(np.zeros(shape), np.array(label, int), ["a"] * classes)


def test_groups_are_measured_apart():
    logits, label = workdirs.draw(60, 3)
    where = np.array(["north", "south", None] * 20, object)
    rows = figures.group_table(logits, label, where)
    assert [row["value"] for row in rows] == ["north", "south", "(none)"]
    for row, mine in zip(rows, [where == "north", where == "south", where == None], strict=True):  # noqa: E711
        expected = of_logits(logits[mine], label[mine])
        assert (row["count"], row["correct"]) == (20, expected["correct"])
        assert row["loss"] == pytest.approx(expected["loss"])
        assert row["balanced_accuracy"] == pytest.approx(
            sk.balanced_accuracy_score(label[mine], logits[mine].argmax(1))
        )
        assert row["interval"] == list(wilson_interval(row["correct"], 20))


def test_few_numbers_are_groups_in_their_order_and_many_are_quartiles():
    logits, label = workdirs.draw(100, 2)
    rows = figures.group_table(logits, label, [10, 9] * 50)
    assert [row["value"] for row in rows] == ["9", "10"]
    rows = figures.group_table(logits, label, [*range(99), math.nan])
    assert [row["value"] for row in rows] == ["0 to 24.5", "24.5 to 49", "49 to 73.5", "73.5 to 98", "(none)"]
    assert [row["count"] for row in rows] == [25, 25, 24, 25, 1]
    rows = figures.group_table(logits, label, [0] * 80 + [*range(1, 21)])  # three quartiles are 0
    assert [(row["value"], row["count"]) for row in rows] == [("0 to 20", 100)]


def test_a_group_for_every_row_is_asked_for():
    with pytest.raises(ValueError, match="1 values for 2 rows"):
        figures.group_table(np.zeros((2, 2)), [0, 1], ["a"])
    assert [r["value"] for r in figures.group_table(np.zeros((2, 2)), [0, 1], ["", None])] == ["(none)"]


def test_an_interval_over_groups_counts_what_is_independent():
    """One picture a group: Wilson's but for n - 1. Groups that are right or wrong as a whole: as many as groups."""
    right = np.arange(50) < 40
    np.testing.assert_allclose(figures.clustered_interval(right, np.arange(50)), wilson_interval(39.2, 49), rtol=1e-12)
    whole = figures.clustered_interval(np.repeat(right, 6), np.repeat(np.arange(50), 6))
    np.testing.assert_allclose(whole, wilson_interval(39.2, 49), rtol=1e-12)
    assert figures.clustered_interval(right, np.zeros(50)) is None
    np.testing.assert_allclose(figures.clustered_interval(np.ones(50), np.arange(50) // 5), wilson_interval(10, 10))


def test_an_interval_over_groups_covers_where_wilsons_does_not():
    """Pictures of a group share a chance of being right, drawn from Beta(4, 1): mean 0.8, correlation 1/6."""
    rng, covered, plain = np.random.default_rng(0), 0, 0
    for _ in range(400):
        sizes = rng.integers(1, 40, size=40)
        number = np.repeat(np.arange(40), sizes)
        right = rng.random(len(number)) < rng.beta(4, 1, size=40)[number]
        low, high = figures.clustered_interval(right, number)
        covered += low <= 0.8 <= high
        low, high = wilson_interval(right.sum(), len(right))
        plain += low <= 0.8 <= high
    assert 0.91 <= covered / 400 <= 0.98
    assert plain / 400 < 0.75
