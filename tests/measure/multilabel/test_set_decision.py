"""Calibration and thresholds by class against scikit-learn and by hand; what is stored."""

import json

import numpy as np
import pytest
import set_runs
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from jaxcls.errors import UserError
from jaxcls.measure import decision as decisions
from jaxcls.measure import doubt, outliers
from jaxcls.measure.multilabel import answers, calibration, decision, thresholds

NAMES = list("abcde")


def test_newton_finds_the_least_loss():
    logits, label = set_runs.draw(500, 1, scale=2.0, bias=1.5)
    z, y = logits[:, 0].astype(np.float64), label[:, 0]
    x = np.stack([z, np.ones(len(z))], axis=1)
    found = calibration._newton(x, y.astype(float), np.array([1.0, 0.0]))
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(z[:, None], y)
    assert found == pytest.approx([reference.coef_[0, 0], reference.intercept_[0]], rel=1e-4)


def test_spoilt_logits_are_mended_and_honest_ones_left():
    logits, label = set_runs.draw(4000, 3, scale=2.0, bias=1.5)
    found = calibration.fit(logits, label)
    assert found.how == ["own"] * 3
    assert found.scale == pytest.approx([0.5] * 3, rel=0.15) and found.bias == pytest.approx([-0.75] * 3, abs=0.2)
    honest, label = set_runs.draw(4000, 3, seed=5)
    left = calibration.fit(honest, label)
    assert left.how == ["none"] * 3 and left.scale.tolist() == [1] * 3 and left.bias.tolist() == [0] * 3


def test_too_few_positives_share_a_temperature():
    logits, label = set_runs.draw(800, 4, scale=3.0, rarest=0.01)
    assert 0 < label[:, 3].sum() < calibration.FEW
    found = calibration.fit(logits, label)
    assert found.how[3] == "shared" and found.bias[3] == 0

    def loss(u):
        return np.logaddexp(0, np.where(label > 0, -logits, logits) * np.exp(-u[0])).sum()

    assert found.temperature == pytest.approx(np.exp(minimize(loss, [0.0]).x[0]), rel=1e-3)
    assert found.scale[3] == pytest.approx(1 / found.temperature)


@pytest.mark.parametrize("change", [
    lambda z, y: (np.where(y > 0, 9.0, -9.0), y),  # no mistake
    lambda z, y: (-z, y),  # the wrong way round
    lambda z, y: (z * 0, y),
    lambda z, y: (z * np.nan, y),
    lambda z, y: (z, y * 0),
    lambda z, y: (z, y * 0 + 1),
    lambda z, y: (np.where(np.arange(len(z))[:, None] % 9, z, np.inf), y),
    lambda z, y: (z * 1e4, y),
    lambda z, y: (z[:1], y[:1]),
])  # fmt: skip
def test_odd_answers_give_a_sound_decision(change):
    z, y = change(*set_runs.draw(200, 3))
    z = z.astype(np.float32)
    decided = decision.fit(z, y, list("abc"), f1=True, wanted=[("recall", "all", 0.9)], strict=False)
    assert decisions.is_sound(json.loads(json.dumps(decided, allow_nan=False)))
    p = answers.probabilities(z, decided)
    plain = calibration.nll(answers.probabilities(z, None), y)
    assert calibration.nll(p, y) <= plain or not np.isfinite(plain)


def test_the_error_of_a_class_is_that_of_its_bins():
    p, y = np.array([0.05, 0.05, 0.95, 0.95, np.nan]), np.array([0, 1, 1, 1, 0])
    found = calibration.reliability(p, y, 10)
    assert found.stated == pytest.approx([0.05, 0.95]) and found.observed.tolist() == [0.5, 1]
    assert found.error == pytest.approx((0.45 + 0.05) / 2)
    rng = np.random.default_rng(0)
    p = rng.random(5000)
    there = rng.random(5000) < p
    observed, stated = calibration_curve(there, p, n_bins=15)
    again = calibration.reliability(p, there)
    assert again.observed == pytest.approx(observed) and again.stated == pytest.approx(stated)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=40))
def test_no_threshold_has_a_better_f1(pairs):
    scores, positive = np.array([s / 8 for s, _ in pairs]), np.array([y for _, y in pairs])
    if not positive.any():
        return
    found = thresholds.best_f1(scores, positive)

    def f1(t):
        return sk.f1_score(positive, scores >= t, zero_division=0)

    assert f1(found) == pytest.approx(max(f1(t) for t in np.unique(scores)))


def test_wishes_are_kept_on_the_pictures_they_were_chosen_by():
    logits, label = set_runs.draw(600, 5)
    label[:, 4] = 0
    wanted = [("recall", "b", 0.95), ("precision", "all", 0.8)]
    decided = decision.fit(logits, label, NAMES, wanted=wanted)
    named = answers.chosen(answers.probabilities(logits, decided), decided)
    kinds = [(entry["kind"], entry["wanted"]) for entry in decided["thresholds"]]
    assert kinds == [("precision", 0.8), ("recall", 0.95), ("precision", 0.8), ("precision", 0.8), ("half", None)]
    assert "no picture of validation is of class 'e'" in decided["thresholds"][4]["note"]
    assert sk.recall_score(label[:, 1], named[:, 1]) >= 0.95
    assert all(sk.precision_score(label[:, c], named[:, c]) >= 0.8 for c in (0, 2, 3))


@pytest.mark.parametrize("wanted, message", [
    ([("recall", "f", 0.9)], "there is no class 'f'; there are: a, b, c, d, e"),
    ([("recall", "a", 0.9), ("precision", "a", 0.9)], "class 'a' has two thresholds"),
    ([("recall", "all", 0.9), ("precision", "all", 0.9)], "give one"),
    ([("recall", "e", 0.9)], "no picture of validation is of class 'e'"),
    ([("precision", "a", 1.0)], "a precision of 1 is not reached for 'a' on validation: at best"),
])  # fmt: skip
def test_wishes_that_cannot_be_had_are_one_line(wanted, message):
    logits, label = set_runs.draw(300, 5, ahead=0.1)
    label[:, 4] = 0
    label[np.argmax(logits[:, 0]), 0] = 0
    with pytest.raises(UserError, match=message) as error:
        decision.fit(logits, label, NAMES, wanted=wanted)
    assert "\n" not in str(error.value)


def test_what_is_stored_is_read_and_known_by_its_output(tmp_path):
    set_runs.make_run(tmp_path / "run")
    made = decision.fit_run(tmp_path / "run", 20)
    assert made == decisions.read(tmp_path / "run", 20) and decisions.of_sets(made) and "temperature" not in made
    assert decision.fit_run(tmp_path / "run", 20) == made
    logits, label = set_runs.draw()
    assert decisions.probabilities(made, logits) == pytest.approx(answers.probabilities(logits, made))
    with pytest.raises(ValueError):
        decisions.decide(made, logits)
    assert decision.fit_run(tmp_path / "run", 21) is None
    path = decisions.path(tmp_path / "run", 20)
    for key, value in (
        ("scale", [1.0]),
        ("scale", [0.0] * 5),
        ("thresholds", []),
        ("output", "features"),
        ("bias", None),
    ):
        path.write_text(json.dumps({**made, key: value}))
        with pytest.raises(UserError, match="damaged"):
            decisions.read(tmp_path / "run", 20)


def test_outliers_are_told_by_the_joint_energy():
    logits, label = set_runs.draw(300, 5)
    decided = decision.fit(logits, label, NAMES, accepted=0.9)
    energy = -np.log1p(np.exp(logits.astype(np.float64))).sum(axis=1)
    assert outliers.energy_of_sets(logits) == pytest.approx(energy)
    limit = decided["outliers"]["energy"]["threshold"]
    found = doubt.columns(decided, logits, None, None, NAMES)
    assert found["outlier"] == (energy > limit).tolist() and np.mean(found["outlier"]) == pytest.approx(0.1, abs=0.004)


def test_a_cross_fitted_answer_had_no_part_in_its_decision():
    logits, label = set_runs.draw(200, 2, scale=2.0)
    probability, named = decision.cross_fitted(logits, label, list("ab"), f1=True)
    part = np.random.default_rng(0).permutation(200) % decision.PARTS
    made = decision.fit(logits[part != 2], label[part != 2], list("ab"), f1=True)
    mine = answers.probabilities(logits[part == 2], made)
    assert probability[part == 2] == pytest.approx(mine)
    assert (named[part == 2] == answers.chosen(mine, made)).all()
