"""What the page says of probabilities and of answers in doubt."""

import html
import re

import numpy as np
import pytest
from fake_runs import make_run

from jaxcls.measure import decision, doubt
from jaxcls.report.page import write_report


def percent(value):
    return f"{100 * value:.1f} %"


def calibrated(folder, made, **wishes):
    """The decision on validation, stored."""
    return decision.save(folder, 20, decision.fit(*made["validation"], [f"class {i}" for i in range(3)], **wishes))


def text_of(folder):
    words = re.sub(r"<style.*?</style>|<[^>]+>", " ", write_report(folder).read_text(), flags=re.S)
    return " ".join(html.unescape(words).split())


@pytest.mark.parametrize(
    "wishes", [{"wanted": [("recall", "class 1", 0.98)]}, {"costs": [[0, 1, 9], [9, 0, 9], [1, 1, 0]]}]
)
def test_the_first_lines_speak_of_the_answers_and_name_the_largest_logit(tmp_path, wishes):
    made = make_run(tmp_path / "run", n=400)
    decided = calibrated(tmp_path / "run", made, **wishes)
    logits, label = made["test"]
    answer = decision.decide(decided, decision.probabilities(decided, logits))
    right, largest = ((x == label) for x in (answer, logits.argmax(1)))
    assert right.sum() != largest.sum()
    kind, text = "thresholds" if "wanted" in wishes else "costs", text_of(tmp_path / "run")
    assert f"it named {right.sum()} ({percent(right.mean())}) correctly" in text
    assert f"These are the answers of the stored {kind}, which “jaxcls predict” gives" in text
    assert f"largest logit is right in {largest.sum()} ({percent(largest.mean())})" in text
    recall = [right[label == c].mean() for c in range(3)]
    assert f"Balanced accuracy {percent(np.mean(recall))}" in text
    assert f"Weakest class: “class {int(np.argmin(recall))}”" in text
    assert f"Accuracy of the answers {100 * right.mean():.2f} %" in text  # in the table
    assert f"Accuracy {percent(right.mean())} where every picture is answered." in text


def test_without_thresholds_the_first_lines_are_of_the_largest_logit(tmp_path):
    made = make_run(tmp_path / "run", n=400)
    calibrated(tmp_path / "run", made)
    logits, label = made["test"]
    text = text_of(tmp_path / "run")
    assert "Accuracy of the answers" not in text and "largest logit" not in text and "In doubt" not in text
    assert f"it named {(logits.argmax(1) == label).sum()} (" in text


def test_answers_in_doubt_are_shown_on_test(tmp_path):
    made = make_run(tmp_path / "run", n=400)
    decided = calibrated(tmp_path / "run", made, risk=0.2, coverage=0.9, accepted=0.95)
    decided["outliers"]["distance"] = {"threshold": 1, "k": 1, "count": 9, "sha256": "x",
                                       "test": {"count": 400, "accepted": 377}}  # fmt: skip
    decision.save(tmp_path / "run", 20, decided)
    logits, label = made["test"]
    p = decision.probabilities(decided, logits)
    found = doubt.measure(decided, logits, p, decision.decide(decided, p), label)
    text = text_of(tmp_path / "run")
    assert f"Answered {found['answered']} of 400" in text
    assert f"Wrong among the answered {found['wrong']} of {found['answered']}" in text
    assert f"Right class within the set {found['covered']} of 400" in text
    assert f"{found['size']:.2f} classes a set on average" in text
    assert f"No outlier, by energy {found['accepted']} of 400" in text
    assert "No outlier, by distance 377 of 400" in text


def test_a_temperature_that_stays_one_is_said_with_its_reason(tmp_path):
    made = make_run(tmp_path / "few", n=9)
    decided = calibrated(tmp_path / "few", made)
    assert decided["temperature"] == 1
    assert "the 9 pictures of the validation split do not show that dividing the logits" in text_of(tmp_path / "few")
