"""What a calibration changes: figures against those of the report, intervals against redraws and against the truth."""

import numpy as np
import pytest
import workdirs

from jaxcls.measure import calibration, effect, figures


def both(logits, label, temperature):
    ones = np.ones(len(label))
    return effect.changes(effect.rows(logits, label, ones), effect.rows(logits, label, ones * temperature))


def test_figures_are_those_of_the_report_before_and_after():
    logits, label = workdirs.draw(500, 4, ahead=1.5)
    found = both(logits, label, 0.7)
    assert [change.name for change in found] == ["accuracy", "NLL", "ECE", "Brier"]
    for side, scale in (("before", 1.0), ("after", 0.7)):
        whole = figures.figures(logits.astype(np.float64) / scale, label, list("abcd"))
        values = [getattr(change, side)[0] for change in found]
        assert values == pytest.approx([whole[key] for key in ("accuracy", "loss", "ece", "brier")], rel=1e-6)
    assert found[0].before[1:] == pytest.approx(whole["interval"])
    assert found[0].verdict == "unchanged" and found[1].difference[0] == pytest.approx(
        calibration.nll(logits, label, 0.7) - calibration.nll(logits, label)
    )


def test_the_interval_of_a_mean_is_the_normal_one():
    """Of a mean difference over many pictures every bootstrap comes to the normal interval."""
    logits, label = workdirs.draw(3000, 3, ahead=1.0)
    rows = [effect.rows(logits, label, np.full(3000, t)) for t in (1.0, 1.5)]
    change = effect.changes(*rows)[1]
    apart = rows[1].loss - rows[0].loss
    half = 1.96 * apart.std() / np.sqrt(3000)
    np.testing.assert_allclose(change.difference[1:], [apart.mean() - half, apart.mean() + half], atol=0.2 * half)


def test_noise_is_called_noise_and_what_is_not_is_not():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(2000, 5)) * 2
    p = calibration.probabilities(true)
    label = (p.cumsum(axis=1) < rng.random((2000, 1))).sum(axis=1).clip(max=4)
    assert [change.verdict for change in both(true, label, 1.02)] == ["unchanged", "noise", "noise", "noise"]
    assert [change.verdict for change in both(true * 2, label, 2.0)] == ["unchanged", "better", "better", "better"]
    assert [change.verdict for change in both(true, label, 2.0)] == ["unchanged", "worse", "worse", "worse"]
    assert effect.changes(*[effect.rows(true, label, np.ones(2000))] * 2)[2].verdict == "unchanged"
    worse = effect.rows(true, label, np.ones(2000), np.zeros(2000, int))
    assert effect.changes(effect.rows(true, label, np.ones(2000)), worse)[0].verdict == "worse"


@pytest.mark.parametrize("n", [1, 2, 4, 7, 400])
def test_a_cross_fitted_row_has_no_part_in_its_temperature(n):
    logits, label = workdirs.draw(n, 3, ahead=1)
    found = effect.cross_fitted(logits * 3, label)
    assert found.shape == (n,) and (found > 0).all() and len(set(found)) <= effect.PARTS
    if n == 400:
        other = np.where(np.arange(400) == 5, (label + 1) % 3, label)
        assert effect.cross_fitted(logits * 3, other)[5] == found[5]
        assert (effect.cross_fitted(logits * 3, other) != found).any()
