"""Figures at the edges: rows that are not finite, ties, one class, many classes, formats that overflow."""

import json
import math

import ml_dtypes
import numpy as np
import pytest
import workdirs
from hypothesis import given, settings
from hypothesis import strategies as st
from splits import by_hand, is_finite, names, splits

from jaxcls import metrics
from jaxcls.measure import calibration, comparison, comparison_text, confusion, curves, figures, markdown, runs, softmax
from jaxcls.metrics import of_logits


@settings(max_examples=60)
@given(splits(), st.sampled_from(["float16", "float32", "float64"]), st.integers(1, 40))
def test_figures_equal_counting_by_hand(split, dtype, chunk):
    """Whatever the logits are, and however few rows are worked on at once."""
    logits, label = split
    logits, expected = logits.astype(dtype), by_hand(logits.astype(dtype), label)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "CHUNK", chunk)
        out, training = figures.figures(logits, label, names(logits)), of_logits(logits, label)
    for name in ("count", "not_finite", "correct"):
        assert out[name] == training[name] == expected[name]
    assert out["brier"] == pytest.approx(expected["brier"])
    assert training["loss"] == pytest.approx(expected["loss"])
    assert out["loss"] == (training["loss"] if math.isfinite(expected["loss"]) else None)
    if logits.shape[1] > 5:
        assert out["top5"] == training["top5"] == pytest.approx(expected["top5"])
    whole = of_logits(logits, label)
    assert whole == training  # to the last bit


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 4)), min_size=1, max_size=30))
def test_a_sparse_confusion_is_the_dense_one(pairs):
    label, predicted = np.array(pairs).T
    table = confusion.count(predicted, label, 5)
    dense = np.zeros((5, 6), int)
    for y, answer in pairs:
        dense[y, answer if answer >= 0 else 5] += 1
    np.testing.assert_array_equal(table.dense(), dense)
    back = confusion.from_json(json.loads(json.dumps(table.to_json())), 5)
    np.testing.assert_array_equal(back.dense(), dense)
    rates = confusion.rates(table)
    np.testing.assert_array_equal(rates["hits"], np.diag(dense))
    np.testing.assert_array_equal(rates["support"], dense.sum(1))
    np.testing.assert_array_equal(rates["predicted"], dense.sum(0)[:5])


@pytest.mark.parametrize("label, predicted", [([5], [0]), ([-1], [0]), ([0], [5]), ([0], [-2])])
def test_labels_and_answers_outside_are_no_cells(label, predicted):
    with pytest.raises(ValueError, match="for 5 classes"):
        confusion.count(np.array(predicted), np.array(label), 5)


@settings(max_examples=30)
@given(splits(), st.floats(0.1, 10))
def test_probabilities_are_computed_where_they_are_looked_at(split, temperature):
    logits, label = split
    lazy, rows = softmax.Softmax(logits, temperature), np.arange(len(label))
    good = np.array([is_finite(row) for row in logits])
    whole = np.full(logits.shape, np.nan)
    whole[good] = calibration.probabilities(logits[good], temperature)
    for key in (slice(None), 0, [0, -1], (slice(None), 1), (slice(None), slice(0, 2)), (0, 1), (rows, label)):
        np.testing.assert_array_equal(lazy[key], whole[key])
    np.testing.assert_array_equal(np.asarray(lazy), whole)
    np.testing.assert_array_equal(lazy.confidence[good], whole[good].max(1))
    np.testing.assert_array_equal(lazy.answer, figures.predict(logits))
    assert np.isnan(lazy.confidence[~good]).all() and (lazy.answer[~good] == -1).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_wrong_whichever_class_is_meant(bad):
    """A logit of +inf for the right class counted as right."""
    logits = np.zeros((6, 6), np.float32)
    logits[np.arange(6), np.arange(6)] = bad
    out = figures.figures(logits, np.arange(6), names(logits))
    assert [out[key] for key in ("accuracy", "top5", "not_finite", "loss", "ece")] == [0.0, 0.0, 6, None, None]
    assert out["confusion"] == {"true": [0, 1, 2, 3, 4, 5], "predicted": [-1] * 6, "number": [1] * 6}


def test_a_class_that_is_ruled_out_is_no_fault():
    logits = np.array([[1.0, -np.inf, 0.0], [-np.inf, -np.inf, -np.inf], [0.0, 1.0, -np.inf]])
    out = figures.figures(logits, np.array([0, 0, 1]), ["a", "b", "c"])
    assert (out["not_finite"], out["correct"], out["loss"]) == (1, 2, None)
    assert math.isfinite(figures.figures(logits[[0, 2]], np.array([0, 1]), ["a", "b", "c"])["loss"])
    ruled_out = figures.figures(logits[[0]], np.array([1]), ["a", "b", "c"])
    assert (ruled_out["not_finite"], ruled_out["correct"], ruled_out["loss"]) == (0, 0, None)


def test_a_model_that_says_nothing_is_right_as_often_as_its_first_class_is():
    out = figures.figures(np.full((40, 8), 7.0), np.arange(40) % 8, [str(i) for i in range(8)])
    assert (out["accuracy"], out["top5"], out["roc_auc"]) == (1 / 8, 5 / 8, 0.5)


def test_one_class_alone():
    out = figures.figures(np.zeros((3, 1)), np.zeros(3, int), ["a"])
    assert (out["accuracy"], out["loss"], out["kappa"], out["roc_auc"]) == (1.0, 0.0, None, None)
    json.dumps(out, allow_nan=False)


def test_what_overflows_a_short_format_is_told():
    logits = np.array([[7e4, 0.0], [1.0, 2.0], [-7e4, 0.0]])
    with np.errstate(over="ignore"):
        half = logits.astype(np.float16)  # 7e4 is inf there
    out = figures.figures(half, np.array([0, 1, 1]), ["a", "b"])
    assert (out["not_finite"], out["correct"]) == (1, 2)
    brain = figures.figures(logits.astype(ml_dtypes.bfloat16), np.array([0, 1, 1]), ["a", "b"])
    assert (brain["not_finite"], brain["correct"]) == (0, 3)


def test_the_json_of_many_classes_is_small():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3000, 400)
    logits = rng.normal(size=(400, 3000)).astype(np.float32)
    out = figures.figures(logits, label, [f"class {i}" for i in range(3000)])
    assert len(json.dumps(out)) < 5e5  # the full table alone would be 18 MB
    assert sum(out["confusion"]["number"]) == 400


def test_a_row_without_scores_ranks_last():
    scores, positive = np.array([0.9, np.nan, 0.4, np.nan]), np.array([True, True, False, False])
    last = np.array([0.9, -1.0, 0.4, -1.0])
    assert curves.roc(scores, positive)["auc"] == curves.roc(last, positive)["auc"] == 0.625
    found, expected = (curves.precision_recall(x, positive)["average_precision"] for x in (scores, last))
    assert found == expected


def test_a_large_split_takes_no_second_matrix():
    """Figures of 40 MB of logits: what is taken beside them is a small part of them."""
    import tracemalloc

    rng = np.random.default_rng(0)
    logits, label = rng.normal(size=(1000, 10_000)).astype(np.float32), rng.integers(0, 40, 1000)
    tracemalloc.start()
    figures.figures(logits, label, [str(i) for i in range(10_000)])
    of_logits(logits, label)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.5 * logits.nbytes


def test_a_comparison_tells_rows_that_are_not_finite(tmp_path):
    logits, label = workdirs.draw(40, 3, ahead=9)
    spoilt = logits.copy()
    spoilt[np.arange(5), label[:5]] = np.inf  # counted as right
    for name, values, rate in (("a", logits, 1), ("b", spoilt, 2)):
        config = {"data": {"name": "digits"}, "seed": 0, "batch_size": rate}
        workdirs.write(tmp_path / name, {"test": (values, label)}, config=config, best=None)
    report = comparison.report(runs.load([tmp_path / "a", tmp_path / "b"]))
    assert [row["not_finite"] for row in report["runs"]] == [0, 5]
    assert report["runs"][1]["correct"] == report["runs"][0]["correct"] - 5 and report["runs"][1]["loss"] is None
    assert report["pairs"][0]["only_a"] == 5
    assert "Of b, 5 of 40 rows of logits are not finite" in comparison_text.markdown(report)


def test_a_slow_run_is_not_one_of_no_pictures():
    assert [markdown.rate(x) for x in (None, 0.042, 3.14159, 1234.56)] == ["", "0.042", "3.14", "1234.6"]
