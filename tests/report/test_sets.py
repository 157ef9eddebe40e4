"""The report of a run whose labels are sets: what it says is what the stored answers say, for odd runs, too."""

import json
import re

import numpy as np
import pytest
import set_runs
from html_page import Page
from sklearn import metrics as sk

from jaxcls.cli.command import main
from jaxcls.errors import UserError
from jaxcls.measure import decision as decisions
from jaxcls.measure.multilabel import decision, redraw
from jaxcls.report import evidence, of_run
from jaxcls.report.multilabel import gallery, overview, together
from jaxcls.report.page import write_report

SECTIONS = {"measured", "classes", "ranking", "together", "pictures", "probabilities", "training", "speed", "config"}
ONE_LABEL = {"confusion", "costs", "selective", "tree"}


def write(workdir, **options):
    path = write_report(workdir, **options)
    return Page(path.read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " "))


def percent(share):
    return f"{100 * share:.1f} %"


def split(n=200, classes=5, seed=0, change=None):
    logits, label = set_runs.draw(n, classes, seed)
    return change(logits, label) if change else (logits, label)


CASES = {
    "plain": {},
    "one class": {"classes": 1},
    "forty classes": {"classes": 40, "n": 100},
    "no label at all": {"change": lambda z, y: (z, y * 0)},
    "every label": {"change": lambda z, y: (z, y * 0 + 1)},
    "an empty class": {"change": lambda z, y: (z, y * (np.arange(y.shape[1]) != 2).astype(np.uint8))},
    "no mistakes": {"change": lambda z, y: (np.where(y > 0, 9, -9).astype(np.float32), y)},
    "nothing named": {"change": lambda z, y: (z * 0 - 5, y)},
    "NaN alone": {"change": lambda z, y: (z * np.nan, y)},
    "some infinite": {"change": lambda z, y: (np.where(np.arange(len(z))[:, None] % 7, z, np.inf), y)},
    "one picture": {"n": 1},
}


@pytest.fixture(autouse=True)
def few_redraws(monkeypatch):
    monkeypatch.setattr(redraw, "MOST", 30)
    monkeypatch.setattr(redraw, "LEAST", 30)


@pytest.mark.parametrize(
    "case, calibrated", [*((case, True) for case in CASES), *((case, False) for case in ("plain", "NaN alone"))]
)
def test_odd_runs_have_a_page_too(tmp_path, case, calibrated):
    splits = {name: split(seed=i, **CASES[case]) for i, name in enumerate(("validation", "test"))}
    n = len(splits["test"][1])
    set_runs.make_run(tmp_path / "run", splits, columns={"camera": [["north", ""][i % 2] for i in range(n)]})
    if calibrated:
        made = decision.fit(*splits["validation"], [f"class {c}" for c in range(splits["test"][1].shape[1])], f1=True)
        decisions.save(tmp_path / "run", 20, made)
    page = write(tmp_path / "run")
    there = {attributes.get("id") for attributes in page.all("section")}
    assert not there & ONE_LABEL and SECTIONS - there <= {"ranking", "together", "probabilities"}
    shown = page.text.partition("Data, environment, files")[2].partition(" Config ")[0]  # behind the links
    assert not re.search(r"\bnan\b|\bNone\b", shown.replace("NaN or infinite", "").replace("None of the", ""))
    stored = json.loads((tmp_path / "run/eval/test-20.json").read_text(), parse_constant=pytest.fail)
    assert stored["count"] == n


def test_what_the_page_says_is_what_the_answers_say(tmp_path):
    splits = {name: split(300, seed=i) for i, name in enumerate(("validation", "test"))}
    set_runs.make_run(tmp_path / "run", splits, classes=["cat", "dog & co", "<b>", "bus", "rare"])
    logits, label = splits["test"]
    page = write(tmp_path / "run")
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    average = sk.average_precision_score(label, p)
    assert f"its mean average precision is {percent(average)}" in page.text
    assert f"All classes are right in {percent(sk.accuracy_score(label, p >= 0.5))} of pictures" in page.text
    assert "“<b>”" in page.text or "<b>" in page.text  # as text
    per_class = sk.average_precision_score(label, p, average=None)
    assert f"Weakest class: “{['cat', 'dog & co', '<b>', 'bus', 'rare'][per_class.argmin()]}”" in page.text
    stored = json.loads((tmp_path / "run/eval/test-20.json").read_text())
    assert stored["mAP"] == pytest.approx(average)
    assert stored["per_class"]["average_precision"] == pytest.approx(list(per_class))


def test_stored_thresholds_are_what_it_speaks_of(tmp_path):
    splits = {name: split(300, seed=i) for i, name in enumerate(("validation", "test"))}
    set_runs.make_run(tmp_path / "run", splits)
    made = decision.fit(*splits["validation"], [f"class {c}" for c in range(5)], wanted=[("recall", "class 1", 0.95)])
    decisions.save(tmp_path / "run", 20, made)
    page = write(tmp_path / "run")
    assert "by the stored thresholds" in page.text and "recall 95" in page.text
    read = evidence.read(tmp_path / "run")
    named = read.said_of_sets[1].chosen
    assert read.figures_of_sets["f1"] == pytest.approx(sk.f1_score(splits["test"][1], named, average="macro"))
    assert read.figures["f1"] == pytest.approx(sk.f1_score(splits["test"][1], splits["test"][0] >= 0, average="macro"))


@pytest.mark.parametrize("change, said", [
    (lambda z, y: (z[:50], y[:50]), "50 pictures are few"),
    (lambda z, y: (z - 3, y), "thresholds by class may suit better"),
    (lambda z, y: (-z, y), "It is not shown to rank better than by chance"),
    (lambda z, y: (np.where(np.arange(5) == 4, -9, z).astype(np.float32), y), "The model never named “class 4”"),
    (lambda z, y: (z, y * (np.arange(5) != 4).astype(np.uint8)), "Nothing can be said about finding “class 4”"),
    (lambda z, y: (z * 8, y), "Its probabilities are"),
])  # fmt: skip
def test_before_you_rely_on_it(tmp_path, change, said):
    set_runs.make_run(tmp_path / "run", {"test": split(200, change=change)})
    read = evidence.read(tmp_path / "run")
    found = list(overview.cautions(read, read.figures_of_sets))
    assert any(said in line for line in found), found


def test_pictures_are_the_surest_mistakes(tmp_path):
    logits, label = split(100)
    label[:], logits[:] = 0, -2
    label[3, 1], logits[3, 1] = 1, -8  # missed
    logits[7, 2] = 9  # invented
    label[9, 0], logits[9, 0] = 1, 7  # right
    set_runs.make_run(tmp_path / "run", {"test": (logits, label)})
    chosen = gallery.choose(evidence.read(tmp_path / "run"))
    assert chosen == {"missed": [(3, 1)], "invented": [(7, 2)], "best": [(9, 0)]}
    page = write(tmp_path / "run")
    assert "1 labels were missed" not in page.text and "1 label was missed and 1 was invented" in page.text
    assert "missed “class 1”" in page.text and "test/3.png" in page.text


def test_what_stands_together_is_counted():
    label = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]]) > 0
    named = np.array([[1, 0, 1], [1, 0, 1], [0, 1, 0], [1, 1, 1]]) > 0
    np.testing.assert_allclose(together.beside(label, label), [[1, 2 / 3, 0], [2 / 3, 1, 0], [0, 0, 0]])
    np.testing.assert_allclose(together.beside(label, named)[0], [1, 1 / 3, 1])


def test_after_training_a_calibration_is_fitted_and_kept(tmp_path):
    set_runs.make_run(tmp_path / "run")

    class Data:
        sources, picture = {}, (8, 8, 3)

    class Network:
        key = "logits"

    lines = []
    of_run.write(Data(), Network(), tmp_path / "run", 20, lines.append)  # no pictures: no page
    assert decisions.of_sets(decisions.read(tmp_path / "run", 20))


def test_a_decision_of_another_kind_is_not_misread(tmp_path):
    set_runs.make_run(tmp_path / "run")
    decisions.save(tmp_path / "run", 20, {
        "count": 4, "classes": list("abcde"), "temperature": 1.0, "thresholds": [], "costs": None})  # fmt: skip
    with pytest.raises(UserError, match="is for one label a picture"):
        evidence.read(tmp_path / "run")


def test_the_command_writes_it(tmp_path, capsys):
    set_runs.make_run(tmp_path / "run")
    assert main(["report", str(tmp_path / "run"), "--no-pictures"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "run/report.html")
