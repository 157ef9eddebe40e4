"""The pieces of the report against brute force and scikit-learn."""

import math

import numpy as np
import pytest
from fake_runs import make_run
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from jaxcls.report import evidence
from jaxcls.report.confusion import PAIRS, colours, confusion, similar
from jaxcls.report.gallery import UNSURE, WORST, choose
from jaxcls.report.markup import LETTERS, Markup, label, number, percent, tag, text
from jaxcls.report.ranking import GRID, mean_curves
from jaxcls.report.svg import Plot, path, thin
from jaxcls.report.ticks import short_ticks, ticks


def test_text_is_escaped_once():
    assert tag("p", "a < b", Markup("<b>c</b>"), title='"', class_="x", hidden=None) == (
        '<p title="&#34;" class="x">a &lt; b<b>c</b></p>'
    )
    assert text(text("&")) == "&amp;"


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_a_share_is_rounded_to_0_or_100_percent_only_where_it_is(hits, n):
    share = min(hits, n) / n
    shown = percent(share).replace("\N{NO-BREAK SPACE}", " ")
    assert (shown == "100.0 %") == (share == 1) and (shown == "0.0 %") == (share == 0)
    if shown[0] not in "<>":
        assert float(shown.removesuffix(" %")) == pytest.approx(100 * share, abs=0.0501)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_and_inside(low, width):
    values = [value for value, _ in ticks(low, low + width)]
    assert 2 <= len(values) <= 7
    room = 1e-5 * width
    assert all(low - room <= value <= low + width + room for value in values)
    assert np.allclose(np.diff(values), np.diff(values)[0], rtol=1e-3)


@given(st.floats(-1e9, 1e9), st.floats(-9, 9), st.booleans())
def test_labels_of_an_axis_differ_and_are_short(low, digits, percent):
    """Of 0.6931471 to 0.6931489, say, whose full digits ran into each other."""
    plot = Plot("p", "x", "y", (low, low + 10**digits), (low, low + 10**digits))
    marks, offset = short_ticks(*plot.ranges[0], percent=percent)
    labels = [name for _, name in marks]
    assert len(set(labels)) == len(labels) >= 2
    assert max(map(len, labels)) <= 10
    start = float(offset.removeprefix("+ ").partition(" %")[0]) if offset else 0.0
    for value, name in marks:
        shown = (float(name.removesuffix(" %")) + start) / (100 if percent else 1)
        assert shown == pytest.approx(value, abs=0.02 * abs(marks[1][0] - marks[0][0]) + 1e-8 * abs(value))


def test_a_plot_of_equal_values_has_ticks():
    for value in (0.0, 5.0, 1e12, -1e-20, 1e300):
        plot = Plot("p", "x", "y", (0, 1), (value, value))
        plot.line([0, 1], [value, value])
        assert "nan" not in plot.render() and "inf" not in plot.render()


@given(st.text(max_size=400))
def test_a_name_is_one_short_line_whatever_it_is_made_of(name):
    shown = label(name)
    assert len(shown) <= LETTERS + 2
    assert not any(letter in shown for letter in "\n\r\t\x0b\x0c\x1c\x85\u2028\u2029\u202e\u200f\x00")
    assert shown.count("\u2068") == shown.count("\u2069")
    assert label(label(name).strip("\u2068\u2069")) == shown


def test_names_that_are_cut_keep_both_ends_and_their_direction():
    assert label("a" * 300 + "z") == "a" * 39 + "…" + "a" * 19 + "z"
    assert label("line\nbreak\t here") == "line break here"
    assert label("\u202eevil") == "evil"
    assert label("\u05d7\u05ea\u05d5\u05dc") == "\u2068\u05d7\u05ea\u05d5\u05dc\u2069"


def test_what_is_infinite_is_written_so():
    assert [number(x) for x in (math.inf, -math.inf, math.nan, None, 0.5)] == ["∞", "−∞", "–", "–", "0.500"]


@given(st.integers(0, 10**6), st.integers(430, 900), st.floats(0, 1))
def test_thinning_keeps_the_extremes_of_every_column(seed, n, gaps):
    rng = np.random.default_rng(seed)
    x, y = np.linspace(0, 40, n), np.where(rng.random(n) < gaps, math.nan, rng.normal(size=n))
    kept_x, kept_y = thin(x, y)
    assert len(kept_x) <= 4 * 42 and kept_x[0] == x[0] and (np.diff(kept_x) >= 0).all()
    for column in range(41):
        before, after = (v[np.round(at) == column] for v, at in ((y, x), (kept_y, kept_x)))
        assert np.isfinite(before).any() == np.isfinite(after).any()
        if np.isfinite(before).any():
            assert np.nanmin(before) == np.nanmin(after) and np.nanmax(before) == np.nanmax(after)


def test_gaps_are_left_out_of_a_curve():
    assert path([0, 1, 2, 3], [0, math.nan, 2, 3]) == "M0.0 0.0L0.0 0.0M2.0 2.0L2.0 2.0L3.0 3.0"


def test_a_plot_says_what_it_shows():
    plot = Plot("ROC", "x", "y", (0, 1), (0, 1), percent="xy")
    plot.line([0, 1], [0, 1], "all <classes>")
    plot.say("Area 0.5.")
    made = plot.render()
    assert 'aria-label="ROC. Area 0.5."' in made and "all &lt;classes&gt;" in made and "100 %" in made


@given(st.integers(0, 10**6), st.integers(2, 6), st.booleans())
def test_mean_curves_are_those_of_scikit_learn(seed, classes, ties):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(classes, 60))
    label = np.r_[np.arange(classes), rng.integers(0, classes, n - classes)]
    probability = rng.dirichlet(np.ones(classes), n).astype(np.float32)
    if ties:
        probability = np.round(probability, 1)
    recall, precision = mean_curves(probability, label)
    found, best = [], []
    for c in range(classes):
        if (label == c).all():
            continue
        fpr, tpr, _ = sk.roc_curve(label == c, probability[:, c], drop_intermediate=False)
        found.append([tpr[fpr <= g + 1e-12].max() for g in GRID])
        p, r, _ = sk.precision_recall_curve(label == c, probability[:, c])
        best.append([p[r >= g - 1e-12].max() for g in GRID[1:]])
    # a false alarm rate of exactly k of n may be met or missed by rounding: compare with the neighbours there
    found = np.mean(found, axis=0)
    low, high = np.r_[found[0], found[:-1]], np.r_[found[1:], found[-1]]
    assert (recall >= low - 1e-9).all() and (recall <= high + 1e-9).all()
    np.testing.assert_allclose(precision, np.mean(best, axis=0), atol=1e-6)


def test_classes_that_are_confused_become_neighbours():
    rng = np.random.default_rng(0)
    group = rng.permutation(np.repeat(np.arange(5), 6))
    counts = np.where(group[:, None] == group, rng.integers(3, 9, (30, 30)), rng.integers(0, 2, (30, 30)))
    order = group[similar(counts + 30 * np.eye(30, dtype=int))]
    assert (np.diff(order) != 0).sum() == 4  # five runs of one group each


def test_cells_are_blue_on_the_diagonal_and_orange_beside_it():
    painted = colours(np.array([[9, 1], [0, 5]])).astype(int)
    assert painted[0, 0, 2] > painted[0, 0, 0] and painted[0, 1, 0] > painted[0, 1, 2]
    assert np.ptp(painted[1, 0]) == 0  # nothing there: grey
    assert painted[1, 1].sum() < painted[0, 0].sum()  # all of a row is darker than nine tenths


def test_the_most_frequent_mistakes_are_those_of_scikit_learn(tmp_path):
    logits, label = make_run(tmp_path / "run", n=500, classes=8)["test"]
    counts = sk.confusion_matrix(label, logits.argmax(1))
    np.fill_diagonal(counts, 0)
    section = confusion(evidence.read(tmp_path / "run"))
    top = np.sort(counts.ravel())[::-1][:PAIRS]
    shown = [int(row.split('class="number">')[1].split("<")[0]) for row in section.body.split("<tr>")[2:]]
    assert shown == top[top > 0].tolist()


def test_the_pictures_are_the_surest_mistakes_and_the_least_sure_others(tmp_path):
    logits, label = make_run(tmp_path / "run", n=200)["test"]
    found = evidence.read(tmp_path / "run")
    worst, unsure = choose(found)
    sure = np.exp(logits).max(1) / np.exp(logits).sum(1)
    wrong = logits.argmax(1) != label
    assert wrong[worst].all() and len(worst) == min(WORST, wrong.sum())
    assert sure[worst].min() >= np.delete(sure, worst)[np.delete(wrong, worst)].max(initial=0)
    assert len(unsure) == UNSURE and not set(worst) & set(unsure)
    assert sure[unsure].max() <= np.delete(sure, np.r_[worst, unsure]).min()
