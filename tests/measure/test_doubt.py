"""Abstention, conformal sets and outliers against closed forms, brute force and simulation."""

import math

import numpy as np
import pytest
import workdirs
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import beta, binom

from jaxcls.errors import UserError
from jaxcls.measure import abstain, conformal, decision, doubt, outliers

# Abstention


@given(st.integers(1, 400), st.floats(0, 1), st.floats(0.001, 0.2))
def test_the_bound_is_where_so_few_mistakes_have_the_chance_delta(n, share, delta):
    mistakes = int(share * (n - 1))
    assert binom.cdf(mistakes, n, abstain.upper_bound(mistakes, n, delta)) == pytest.approx(delta, rel=1e-6)
    assert abstain.upper_bound(n, n, delta) == 1.0
    assert abstain.upper_bound(0, n, delta) == pytest.approx(1 - delta ** (1 / n))


@settings(max_examples=60)
@given(st.integers(2, 120), st.integers(0, 2**32), st.floats(0.02, 0.6))
def test_the_threshold_answers_a_part_whose_bound_is_below_the_risk(n, seed, risk):
    """What is taken has a sound bound; where it is refused, the surest half has none."""
    rng = np.random.default_rng(seed)
    confidence = rng.integers(1, 30, n) / 30
    right = rng.random(n) < confidence
    delta = 0.05 / math.ceil(math.log2(n))
    try:
        chosen = abstain.choose(confidence, right, risk)
    except UserError as error:
        assert "can't be promised" in str(error) and "\n" not in str(error)
        surest = confidence >= np.sort(confidence)[math.ceil((1 + n) / 2) - 1]
        assert beta.ppf(1 - delta, (surest & ~right).sum() + 1, (surest & right).sum() or 1e-9) > risk
        return
    given = confidence >= chosen["threshold"]
    assert (given == ~abstain.abstains(chosen, confidence)).all()
    assert (int(given.sum()), int((given & ~right).sum())) == (chosen["answered"], chosen["mistakes"])
    assert chosen["bound"] == pytest.approx(beta.ppf(1 - delta, chosen["mistakes"] + 1, (given & right).sum()))
    assert chosen["bound"] <= risk


def test_what_is_promised_holds_on_other_pictures():
    """The true risk is known here: probability p is right with p. At most 5 % of draws may exceed what they promise."""
    rng = np.random.default_rng(0)
    fresh = rng.beta(6, 1.2, 200_000)
    broken = 0
    for _ in range(300):
        confidence = rng.beta(6, 1.2, 300)
        try:
            chosen = abstain.choose(confidence, rng.random(300) < confidence, 0.15)
        except UserError:
            continue  # promises nothing
        broken += (1 - fresh[fresh >= chosen["threshold"]]).mean() > 0.15
    assert broken <= binom.ppf(0.999, 300, 0.05)


def test_a_risk_that_few_pictures_cannot_promise_is_refused_with_what_they_can():
    confidence, right = np.linspace(0.5, 1, 40), np.ones(40, bool)
    with pytest.raises(UserError, match=r"a risk of 0.02 can't be promised from 40 pictures of validation") as error:
        abstain.choose(confidence, right, 0.02)
    least = float(str(error.value).partition("--risk ")[2].split()[0])
    assert abstain.choose(confidence, right, least)["bound"] <= least
    with pytest.raises(UserError, match="can't be promised"):
        abstain.choose(np.full(5, np.nan), np.zeros(5, bool), 0.3)


# Sets


@pytest.mark.parametrize("n, coverage", [(19, 0.95), (50, 0.9), (199, 0.8)])
def test_the_threshold_covers_with_the_exact_chance(n, coverage):
    """Of exchangeable pictures the next one's class is reached with the chance ceil((n + 1) c) / (n + 1)."""
    rng = np.random.default_rng(n)
    reached, draws = 0, 3000
    for _ in range(draws):
        p = rng.dirichlet(np.ones(4), n + 1)
        label = (p.cumsum(axis=1) < rng.random((n + 1, 1))).sum(axis=1).clip(max=3)
        chosen = conformal.choose(p[:n], label[:n], coverage)
        reached += p[n, label[n]] >= chosen["threshold"]
    exact = math.ceil((n + 1) * coverage - 1e-9) / (n + 1)
    low, high = binom.ppf([0.0005, 0.9995], draws, exact)
    assert low <= reached <= high


@given(st.integers(1, 60), st.integers(2, 6), st.integers(0, 2**32), st.floats(0.05, 0.97))
def test_sets_hold_all_from_the_threshold_on_and_the_first_class(n, classes, seed, coverage):
    rng = np.random.default_rng(seed)
    p, label = rng.dirichlet(np.ones(classes), n), rng.integers(0, classes, n)
    if math.ceil((n + 1) * coverage - 1e-9) > n:
        with pytest.raises(UserError, match="hold out more pictures"):
            conformal.choose(p, label, coverage)
        return
    chosen = conformal.choose(p, label, coverage)
    score = np.sort(1 - p[np.arange(n), label])
    assert chosen["threshold"] == pytest.approx(1 - score[math.ceil((n + 1) * coverage - 1e-9) - 1])
    inside = conformal.members(chosen, p)
    assert inside[np.arange(n), label].mean() >= coverage - 1e-9
    expected = (p >= chosen["threshold"]) | (np.arange(classes) == p.argmax(axis=1)[:, None])
    assert (inside == expected).all()


def test_too_few_pictures_for_a_coverage_are_told_what_they_are_enough_for():
    p, label = np.tile([0.7, 0.3], (9, 1)), np.zeros(9, int)
    with pytest.raises(UserError, match=r"coverage of 0.95 need 19 pictures of validation, and there are 9: .*0.9 or"):
        conformal.choose(p, label, 0.95)
    assert conformal.choose(p, label, 0.9)["threshold"] == pytest.approx(0.7)
    assert not conformal.members({"threshold": 0.0}, np.array([[np.nan, np.nan]])).any()


# Outliers


@given(st.integers(1, 30), st.integers(2, 6), st.integers(0, 2**32), st.floats(0.1, 10))
def test_energy_is_that_of_scipy(n, classes, seed, temperature):
    logits = np.random.default_rng(seed).normal(size=(n, classes)) * 50
    expected = -temperature * logsumexp(logits / temperature, axis=1)
    np.testing.assert_allclose(outliers.energy(logits, temperature), expected, rtol=1e-9)


def test_the_energy_of_what_is_not_finite():
    inf, nan = np.inf, np.nan
    found = outliers.energy([[nan, 0], [inf, 0], [-inf, -inf], [-inf, 2.0]])
    np.testing.assert_array_equal(found, [nan, -inf, inf, -2.0])


@given(st.integers(1, 50), st.integers(1, 100), st.integers(0, 2**32))
def test_the_limit_accepts_the_wanted_share_and_no_more_than_it_takes(n, percent, seed):
    scores = np.random.default_rng(seed).normal(size=n)
    accepted = (scores <= outliers.limit(scores, percent / 100)).sum()
    assert accepted == max(1, math.ceil(n * percent / 100 - 1e-9))


@given(st.integers(1, 30), st.integers(1, 9), st.integers(0, 2**32))
def test_distance_is_that_to_the_kth_nearest_direction(n, d, seed):
    rng = np.random.default_rng(seed)
    known, asked = rng.normal(size=(n, d)), rng.normal(size=(7, d))
    bank = outliers.bank(known)._replace(k=min(n, 3))
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (asked, known)]
    expected = np.sort(np.linalg.norm(units[0][:, None] - units[1][None], axis=2), axis=1)[:, bank.k - 1]
    np.testing.assert_allclose(outliers.distance(bank, asked), expected, atol=0.05)  # stored as float16
    assert outliers.bank(np.zeros((2400, 1)) + 1).k == 2
    assert np.isnan(outliers.distance(bank, asked * np.nan)).all()


def test_features_of_another_kind_are_far():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 16)) * 4
    inside = lambda n: centres[rng.integers(0, 3, n)] + rng.normal(size=(n, 16))  # noqa: E731
    bank = outliers.bank(inside(500))
    limit = outliers.limit(outliers.distance(bank, inside(200)), 0.95)
    assert (outliers.distance(bank, inside(1000)) <= limit).mean() > 0.9
    assert (outliers.distance(bank, rng.normal(size=(1000, 16)) * 4) <= limit).mean() < 0.05


def test_a_bank_that_is_not_the_calibrations_is_one_line(tmp_path):
    bank = outliers.bank(np.eye(4))
    outliers.save(tmp_path, 3, bank)
    about = {"outliers": {"accepted": 0.95, "energy": {"threshold": 0}, "distance": {"k": 1, "sha256": "no"}}}
    assert outliers.read(tmp_path, 3, None) is None
    for change in (
        lambda: None,
        lambda: outliers.path(tmp_path, 3).write_bytes(b"x"),
        outliers.path(tmp_path, 3).unlink,
    ):
        change()
        with pytest.raises(UserError, match=r"3.npz is missing, damaged or of another calibration; make it anew"):
            outliers.read(tmp_path, 3, about)
    outliers.save(tmp_path, 3, bank)
    about["outliers"]["distance"]["sha256"] = outliers.digest(bank)
    assert (outliers.read(tmp_path, 3, about).features == bank.features).all()


# All of it in a decision


def test_a_decision_keeps_what_it_promises_on_the_answers_that_it_gives(tmp_path):
    logits, label = workdirs.draw(600, 3, ahead=2.5)
    wishes = {"wanted": [("recall", "b", 0.95)], "risk": 0.1, "coverage": 0.9, "accepted": 0.97}
    decided = decision.save(tmp_path, 7, decision.fit(logits, label, ["a", "b", "c"], **wishes))
    assert decision.read(tmp_path, 7) == decided
    probability = decision.probabilities(decided, logits)
    answer = decision.decide(decided, probability)
    columns = doubt.columns(decided, logits, probability, answer, ["a", "b", "c"])
    assert list(columns) == doubt.names(decided) == ["abstained", "set", "energy", "outlier"]
    given = ~np.array(columns["abstained"])
    assert given.sum() == decided["abstention"]["answered"]
    assert (answer != label)[given].sum() == decided["abstention"]["mistakes"] <= 0.1 * given.sum()
    covered = np.mean(["abc"[y] in names for y, names in zip(label, columns["set"], strict=True)])
    assert covered >= 0.9
    assert [names[0] for names in columns["set"]] == ["abc"[k] for k in probability.argmax(axis=1)]
    assert np.mean(columns["outlier"]) == pytest.approx(0.03)
    measured = doubt.measure(decided, logits, probability, answer, label)
    assert measured["covered"] == round(covered * 600) and measured["accepted"] == 582
    assert measured["answered"] == given.sum() and measured["size"] == np.mean([len(s) for s in columns["set"]])
    far = {**decided["outliers"], "distance": {"threshold": 0.5}}
    assert doubt.strange(far, np.full(3, -1e9), np.array([0.4, 0.6, np.nan])).tolist() == [False, True, True]
    assert doubt.names(None) == [] and doubt.columns({}, logits, probability, answer, ["a", "b", "c"]) == {}


@pytest.mark.parametrize("change", [
    {"abstention": {"risk": 1}}, {"abstention": {"threshold": 2}}, {"sets": {"threshold": "x"}}, {"sets": 3},
    {"outliers": {"accepted": 0.9}}, {"outliers": {"accepted": 0.9, "energy": {"threshold": 0}, "distance": {"k": 1}}},
    {"outliers": {"accepted": 2, "energy": {"threshold": 0}}},
])  # fmt: skip
def test_a_damaged_wish_is_one_line(tmp_path, change):
    decided = decision.save(tmp_path, 7, decision.fit(*workdirs.draw(12, 3), ["a", "b", "c"]))
    decision.save(tmp_path, 7, decided | change)
    with pytest.raises(UserError, match=r"7.json is damaged"):
        decision.read(tmp_path, 7)


def test_a_file_of_before_is_read_as_it_was(tmp_path):
    decided = decision.fit(*workdirs.draw(12, 3), ["a", "b", "c"])
    old = {key: value for key, value in decided.items() if key not in ("abstention", "sets", "outliers")}
    decision.save(tmp_path, 7, old)
    assert doubt.names(decision.read(tmp_path, 7)) == []
