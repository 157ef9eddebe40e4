"""The page is well-formed, needs nothing else, says what the logits say, and is written for odd runs, too."""

import json
import re
import shutil

import numpy as np
import pytest
from fake_runs import make_run
from html_page import Page
from sklearn import metrics as sk

from jaxcls.errors import UserError
from jaxcls.measure import calibration, decision, figures
from jaxcls.report.markup import number, percent
from jaxcls.report.page import write_report


def write(workdir, **options):
    path = write_report(workdir, **options)
    return Page(path.read_text(encoding="utf-8"))


def empty_class(logits, label):
    return logits, np.where(label == 1, 0, label)


def never_predicted(logits, label):
    logits[:, 2] = -50
    return logits, label


def infinite(logits, label):
    logits[::5, 0] = np.inf
    return logits, label


def not_a_number(logits, label):
    logits[::4, 0] = np.nan
    return logits, label


def all_nan(logits, label):
    return logits * np.nan, label


def one_class(logits, label):
    return logits, np.zeros_like(label)


def perfect(logits, label):
    return np.eye(logits.shape[1])[label] * 9, label


CASES = {
    "three classes": {},
    "two classes": {"classes": 2},
    "a hundred classes": {"classes": 100, "n": 250},
    "thirty classes": {"classes": 30},
    "an empty class": {"change": empty_class},
    "a class never predicted": {"change": never_predicted},
    "no mistakes": {"change": perfect},
    "one class with pictures": {"change": one_class},
    "some NaN": {"change": not_a_number},
    "NaN alone": {"change": all_nan},
    "some infinite": {"change": infinite},
    "infinite, two classes": {"change": infinite, "classes": 2},
    "one picture": {"n": 1},
    "two classes, one picture": {"n": 1, "classes": 2},
    "validation alone": {"splits": ("validation",)},
    "no validation": {"splits": ("test",)},
    "no evaluation": {"splits": ()},
    "markup in names": {"names": ["<script>alert(1)</script>", 'a"b', "c&d"]},
    "long names": {"names": ["a" * 300, "b\n" * 150, "\u05d7\u202e" * 150]},
    "a constant model": {"change": lambda x, y: (x * 0, y)},
    "one class": {"classes": 1},
    "names that are no Unicode": {"names": ["caf\udce9", "b", "c"]},
}


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_run_gives_a_sound_page(tmp_path, case):
    make_run(tmp_path / "run", **CASES[case])
    page = write(tmp_path / "run")
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == len(page.all("main")) == 1
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {link["href"] for link in page.all("a")} == {f"#{name}" for name in ids}
    assert all(image["src"].startswith("data:image/") and image["alt"] for image in page.all("img"))
    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.all("svg"))
    assert not {"script", "link", "iframe", "object"} & {name for name, _ in page.elements}
    policy = next(meta for meta in page.all("meta") if "http-equiv" in meta)
    assert policy["content"].startswith("default-src 'none'")
    numbers = " ".join(
        value or ""
        for name, attributes in page.elements
        if name in ("path", "rect", "line", "circle")
        for value in attributes.values()
    )
    assert "nan" not in numbers and "inf" not in numbers
    assert not re.search(r"\b(nan|None|inf)\b", page.text)


def test_the_verdict_has_the_counts_of_the_logits(tmp_path):
    logits, label = make_run(tmp_path / "run", n=400)["test"]
    right = int((logits.argmax(1) == label).sum())
    page = write(tmp_path / "run")
    assert f"Of 400 test pictures that played no part in training it named {right} (" in page.text
    common = np.bincount(label).argmax()
    assert f"Always answering “class {common}” would be right in {(label == common).mean():.1%}" in page.text.replace(
        " %", "%"
    )
    figures = json.loads((tmp_path / "run" / "eval" / "test-20.json").read_text())
    assert figures["correct"] == right and figures["split"] == "test"
    assert figures["kappa"] == pytest.approx(sk.cohen_kappa_score(label, logits.argmax(1)))


def test_the_page_of_a_thousand_pictures_and_classes_stays_small(tmp_path):
    make_run(tmp_path / "run", n=2000, classes=1000)
    path = write_report(tmp_path / "run")
    assert path.stat().st_size < 3e6
    assert "All 1,000 classes" in path.read_text()


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"splits": ("validation",)}, "These pictures also chose the checkpoint, so the figures are optimistic"),
        ({"change": not_a_number}, "For 15 pictures the model's answer is not a number"),
        ({"n": 60}, "60 pictures are few"),
        ({"change": never_predicted}, "The model never answered “class 2”"),
        ({"change": empty_class}, "Nothing can be said about “class 1”"),
        ({"change": lambda x, y: (x * 0, y)}, "not shown to be better than always answering the most frequent"),
        ({"change": lambda x, y: (x * 9, np.roll(y, 1))}, "so it is too sure"),
        ({"change": lambda x, y: (np.eye(3)[y] * 0.5, y)}, "so it is too cautious"),
        ({"change": lambda x, y: (np.roll(x, 1, axis=0), y)}, "it has learnt some by heart"),
    ],
)
def test_what_to_be_careful_about_is_said(tmp_path, options, sentence):
    make_run(tmp_path / "run", **options)
    assert sentence in write(tmp_path / "run").text


def test_rows_that_are_not_finite_are_told_in_every_section(tmp_path):
    make_run(tmp_path / "run", change=infinite, classes=2)
    page = write(tmp_path / "run").text
    assert "12 of 60 rows of logits are not finite (NaN or infinite): counted as wrong, of no class." in page
    for what in ("so they stand in no cell", "they count as not found", "they rank last", "they state no probability",
                 "they are never answered", "12 of them because their logits are not finite"):  # fmt: skip
        assert what in page, what
    found = json.loads((tmp_path / "run" / "eval" / "test-20.json").read_text())
    assert found["not_finite"] == 12 and found["loss"] is None
    assert sum(found["confusion"]["number"]) == found["count"] == 60


def lines_to(workdir, step):
    path = workdir / "metrics.jsonl"
    kept = [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= step]
    path.write_text("".join(line + "\n" for line in kept))


def test_a_run_that_was_killed_says_how_far_it_came(tmp_path):
    make_run(tmp_path / "run")
    assert "unfinished" not in write(tmp_path / "run").text
    lines_to(tmp_path / "run", 14)
    head = write(tmp_path / "run").text
    assert "This run is unfinished: its records end at step 14 of 20." in head
    assert head.index("unfinished") < head.index("it named")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**config, "duration": "4.5 epochs"}))  # of 5 steps
    assert "at step 14 of 23." in write(tmp_path / "run").text
    (tmp_path / "run" / "config.json").write_text(json.dumps({**config, "duration": 14}))
    (tmp_path / "run" / "results.json").unlink()
    assert "all 14 steps are done, the final evaluation is not" in write(tmp_path / "run").text


def test_a_killed_run_without_an_evaluation_says_so_too(tmp_path):
    make_run(tmp_path / "run", splits=())
    lines_to(tmp_path / "run", 8)
    assert "its records end at step 8 of 20" in write(tmp_path / "run").text


def test_groups_of_one_picture_are_no_groups(tmp_path):
    make_run(tmp_path / "run", n=60)
    rows = {"id": [str(i) for i in range(60)], "columns": {"group": [f"scan {i}" for i in range(60)]}}
    (tmp_path / "run" / "eval" / "test-rows.json").write_text(json.dumps(rows))
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["data"]["group_by"] = r"(scan \d+)"
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    page = write(tmp_path / "run").text
    assert "Each of the 60 groups by config.data.group_by has one picture" in page
    assert "The pattern is probably not the one that was meant" in page
    assert "By groups, the interval" not in page and "nothing can be said by group" in page


def test_the_page_of_very_many_classes_says_what_it_leaves_out(tmp_path):
    make_run(tmp_path / "run", n=300, classes=2500)
    path = write_report(tmp_path / "run")
    assert path.stat().st_size < 2e6
    assert (tmp_path / "run" / "eval" / "test-20.json").stat().st_size < 1e6
    text = Page(path.read_text()).text
    for what in ("A matrix of 2,500 classes could not be read", "Of 2,500 classes this page has the 300 weakest.",
                 "2,200 have no pictures here"):  # fmt: skip
        assert what in text, what


def test_a_good_run_has_no_warnings(tmp_path):
    make_run(tmp_path / "run", n=900, change=lambda x, y: (np.eye(3)[y] * 9, y))
    assert "Before you rely on it" not in write(tmp_path / "run").text


def test_how_the_checkpoint_was_chosen_is_said(tmp_path):
    make_run(tmp_path / "a")
    assert "step 20 of 20, chosen by the validation split" in write(tmp_path / "a").text
    make_run(tmp_path / "b", splits=("test",))
    assert "step 20 of 20, the last state: there was nothing to select it by" in write(tmp_path / "b").text
    make_run(tmp_path / "c", splits=("validation",))
    assert "the best one on these very pictures: optimistic" in write(tmp_path / "c").text


def test_another_step_gets_a_page_of_its_own(tmp_path):
    make_run(tmp_path / "run")
    for name in ("test", "validation"):
        shutil.copy(tmp_path / "run" / "eval" / f"{name}-20.npz", tmp_path / "run" / "eval" / f"{name}-10.npz")
    assert write_report(tmp_path / "run").name == "report.html"
    assert "not the one that the run's result is of" in write(tmp_path / "run", step=10).text
    assert (tmp_path / "run" / "report-10.html").is_file()


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        write_report(tmp_path)
    make_run(tmp_path / "run")
    with pytest.raises(UserError, match=r"steps with logits of test: 20"):
        write_report(tmp_path / "run", step=7)
    (tmp_path / "run" / "eval" / "test-20.npz").write_bytes(b"broken")
    with pytest.raises(UserError, match="damaged"):
        write_report(tmp_path / "run")


def test_without_a_checkpoint_classes_are_numbers(tmp_path):
    make_run(tmp_path / "run", classes=4)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert "Weakest class: “" in write(tmp_path / "run").text


def test_stored_thresholds_are_shown_at_work(tmp_path):
    made = make_run(tmp_path / "run", n=300, classes=2, names=["good", "crack"])
    logits, label = made["validation"]
    fitted = decision.fit(logits, label, ["good", "crack"], wanted=[("recall", "crack", 0.99)])
    decision.save(tmp_path / "run", 20, fitted)
    (row,) = decision.measure(fitted, *made["test"])
    page = write(tmp_path / "run")
    assert "Stored thresholds" in page.text and f"{row['found']} of {row['positives']}" in page.text
    assert f"the temperature {fitted['temperature']:.3g} calibrates them" in page.text


def test_stored_costs_are_shown_at_work(tmp_path):
    made = make_run(tmp_path / "run", n=300, classes=2, names=["good", "crack"])
    matrix = np.array([[0, 1], [3, 0]])
    fitted = decision.fit(*made["validation"], ["good", "crack"], costs=matrix)
    decision.save(tmp_path / "run", 20, fitted)
    logits, label = made["test"]
    p = calibration.probabilities(logits, fitted["temperature"])
    answer = (p[:, 1] * 3 > p[:, 0]).astype(int)  # Elkan 2001: called where its expected cost is the higher one
    spent = matrix[label, answer]
    page = write(tmp_path / "run").text
    assert "What mistakes cost" in page and f"Least expected cost {number(spent.mean(), 4)} " in page
    assert f"{int((answer != p.argmax(axis=1)).sum())} of 300 pictures get another answer" in page
    missed = spent[(label == 1) & (answer == 0)]
    assert f"crack good {len(missed)} 3 {missed.sum()} " in page


def test_possible_thresholds_are_chosen_on_validation_and_measured_on_test(tmp_path):
    made = make_run(tmp_path / "run", n=300, classes=2)
    page = write(tmp_path / "run")
    (scores, label), (test, truth) = (
        (np.exp(x[:, 1]) / np.exp(x).sum(1), y) for x, y in (made["validation"], made["test"])
    )
    threshold = np.sort(scores[label == 1])[::-1][int(np.ceil(0.9 * (label == 1).sum())) - 1]
    found = int(((test >= threshold) & (truth == 1)).sum())
    near = range(found - 1, found + 2)  # it lies a little below the score
    assert any(f"{k} of {(truth == 1).sum()}" in page.text for k in near)
    assert "chosen on the validation split" in page.text


def test_groups_have_their_own_accuracy(tmp_path):
    logits, label = make_run(tmp_path / "run", n=40)["test"]
    site = ["north"] * 10 + ["south"] * 30
    rows = {"id": [f"{i}.jpg" for i in range(40)], "columns": {"site": site}}
    (tmp_path / "run" / "eval" / "test-rows.json").write_text(json.dumps(rows))
    right = logits.argmax(1) == label
    text = write(tmp_path / "run").text
    assert f"north 10 {100 * right[:10].mean():.1f} %" in text
    assert f"south 30 {100 * right[10:].mean():.1f} %" in text
    mistake = int(np.flatnonzero(~right)[0])
    assert f"{mistake}.jpg" in text


def test_rows_of_fewer_pictures_are_no_groups(tmp_path):
    make_run(tmp_path / "run", n=40)
    rows = {"id": ["a"], "columns": {"site": ["north"]}}
    (tmp_path / "run" / "eval" / "test-rows.json").write_text(json.dumps(rows))
    assert "north" not in write(tmp_path / "run").text


def test_pictures_that_belong_together_widen_the_interval(tmp_path):
    logits, label = make_run(tmp_path / "run", n=60)["test"]
    groups = [f"patient {i // 6}" for i in range(60)]
    rows = {"id": [str(i) for i in range(60)], "columns": {"group": groups}}
    (tmp_path / "run" / "eval" / "test-rows.json").write_text(json.dumps(rows))
    assert "config.data.group_by" not in write(tmp_path / "run").text.partition("<main>")[0]  # just a column
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["data"]["group_by"] = r"(patient \d+)"
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    low, high = (percent(x).replace("\xa0", " ") for x in figures.clustered_interval(logits.argmax(1) == label, groups))
    page = write(tmp_path / "run").text
    assert "These pictures are of 10 groups (config.data.group_by)" in page
    assert f"By groups, the interval of the accuracy is {low} to {high};" in page


def test_both_speeds_are_there(tmp_path):
    make_run(tmp_path / "run")
    text = write(tmp_path / "run").text
    assert "Training speed 99 pictures" in text and "Evaluation speed 500 pictures" in text
