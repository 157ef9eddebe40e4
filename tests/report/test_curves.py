"""The curves hold the recorded values, smoothing is the plain running mean, and odd records still draw."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jaxcls.criteria import Figure
from jaxcls.errors import UserError
from jaxcls.logs.records import Records, read_metrics
from jaxcls.report.curves import draw_curves, find_series, smooth, write_curves


def run(workdir, rows, steps_per_epoch=10):
    records = Records(workdir, steps_per_epoch=steps_per_epoch)
    for step, split, values in rows:
        records.scalars(step, values, split)
    records.close()
    return read_metrics(workdir)


def test_both_files_are_pictures_with_something_in_them(tmp_path):
    rows = [(s, "train", {"loss": 1 / s, "accuracy": s / 200, "learning_rate": 0.1}) for s in range(1, 101)]
    run(tmp_path, [*rows, (100, "validation", {"loss": 0.5, "accuracy": 0.4})])
    png, svg = write_curves(tmp_path)
    assert (png, svg) == (tmp_path / "curves.png", tmp_path / "curves.svg")
    picture = np.asarray(Image.open(png).convert("RGB"))
    assert picture.shape[1] > 3 * 600 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    assert svg.read_text().lstrip().startswith("<?xml")


def test_panels_curves_and_units(tmp_path):
    rows = [(s, "train", {"loss": 2.0, "top1": 0.25, "lr": 0.1}) for s in (5, 10, 15, 20)]
    lines = run(tmp_path, [*rows, (20, "test", {"loss": 3.0, "top1": 0.5})])
    loss, accuracy, rate = draw_curves(lines).axes
    assert [axes.get_title() for axes in (loss, accuracy, rate)] == ["Loss", "Accuracy", "Learning rate"]
    assert (accuracy.get_ylabel(), accuracy.get_xlabel()) == ("accuracy (%)", "epoch of 10 steps")
    train, test = accuracy.lines
    np.testing.assert_allclose(train.get_xydata(), [[0.5, 25], [1, 25], [1.5, 25], [2, 25]])
    np.testing.assert_allclose(test.get_xydata(), [[2, 50]])
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["train (last 2)", "test (last 3)"]


def test_the_panels_are_those_of_the_task():
    lines = [{"step": 1, "split": "train", "loss": 2.0, "learning_rate": 0.1}]
    lines += [{"step": 1, "split": "validation", "knn_accuracy": 0.25, "distance": 250.0, "accuracy": 0.5}]
    titles = {}
    for figure in (Figure("knn_accuracy", share=True), Figure("distance", best="min"), Figure("loss", best="min")):
        axes = draw_curves(lines, figures=[figure, Figure("accuracy", share=True)]).axes
        titles[figure.name] = [part.get_title() for part in axes]
        if figure.name != "loss":
            (curve,) = axes[1].lines
            assert curve.get_ydata() == [100 * 0.25 if figure.share else 250.0]
            assert axes[1].get_ylabel() == ("knn accuracy (%)" if figure.share else "distance")
            assert axes[1].get_ylim()[1] > 250 or figure.share
    assert titles == {
        "knn_accuracy": ["Loss", "Knn accuracy", "Learning rate"],
        "distance": ["Loss", "Distance", "Learning rate"],
        "loss": ["Loss", "Learning rate"],
    }
    assert len(draw_curves(lines, figures=()).axes) == 2


def test_a_long_train_curve_is_smoothed_over_its_raw_self(tmp_path):
    noise = np.random.default_rng(0).normal(size=500)
    lines = run(tmp_path, [(s, "train", {"loss": float(noise[s])}) for s in range(500)])
    (axes,) = draw_curves(lines).axes
    raw, smoothed = axes.lines
    np.testing.assert_allclose(raw.get_ydata(), noise)
    np.testing.assert_allclose(smoothed.get_ydata()[100], noise[95:106].mean())
    assert raw.get_alpha() < 0.5


def test_a_single_point_and_no_validation(tmp_path):
    run(tmp_path, [(3, "train", {"loss": 2.0})])
    assert all(path.stat().st_size > 1000 for path in write_curves(tmp_path))
    (axes,) = draw_curves(read_metrics(tmp_path)).axes
    assert axes.lines[0].get_marker() == "o"  # a line of one point would show nothing


def test_values_that_are_not_finite_leave_gaps(tmp_path):
    rows = [(s, "train", {"loss": float("nan") if s % 7 == 0 else float("inf") if s == 9 else 1.0}) for s in range(60)]
    run(tmp_path, [*rows, (60, "validation", {"loss": float("nan")})])
    write_curves(tmp_path)
    (axes,) = draw_curves(read_metrics(tmp_path)).axes
    raw, smoothed = axes.lines  # the validation curve has nothing to show
    missing = [s for s in range(60) if s % 7 == 0 or s == 9]
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(raw.get_ydata())), missing)
    assert set(smoothed.get_ydata()[~np.isnan(smoothed.get_ydata())]) == {1.0}


@pytest.mark.parametrize("rows", [[], [(1, "train", {"grad_norm": 1.0})], [(1, "train", {"loss": float("nan")})]])
def test_nothing_to_draw_is_said(tmp_path, rows):
    run(tmp_path, rows)
    with pytest.raises(UserError, match=r"metrics\.jsonl holds no curve to draw"):
        write_curves(tmp_path)
    with pytest.raises(UserError, match="no curve to draw"):
        write_curves(tmp_path / "absent")


def test_series_are_ordered_and_a_repeated_step_counts_once():
    lines = [
        {"step": 2, "split": "test", "loss": 5.0},
        {"step": 2, "split": "train", "loss": 4.0},
        {"step": 1, "split": "train", "loss": 3.0},
        {"step": 2, "split": "train", "loss": 2.0},
    ]
    series = find_series(lines, ("missing", "loss"))
    assert list(series) == ["train", "test"]
    np.testing.assert_array_equal(series["train"], [[1, 3], [2, 2]])


@given(st.lists(st.floats(-1e3, 1e3) | st.just(float("nan")), min_size=1, max_size=50), st.integers(0, 60))
def test_smoothing_is_the_running_mean_of_what_there_is(values, window):
    values, half = np.array(values), max(1, window) // 2
    for i, result in enumerate(smooth(values, window)):
        if np.isnan(values[i]):
            assert np.isnan(result)
        else:
            assert result == pytest.approx(np.nanmean(values[max(0, i - half) : i + half + 1]), abs=1e-9)


def test_pyplot_and_jax_stay_out(tmp_path):
    run(tmp_path, [(1, "train", {"loss": 1.0})])
    code = (
        f"import sys; from jaxcls.report.curves import write_curves; assert 'matplotlib' not in sys.modules;"
        f"write_curves({str(tmp_path)!r}); sys.exit(bool({{'matplotlib.pyplot', 'jax'}} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
