"""A tree of classes in the report, the decision and the comparison of runs, on workdirs as these leave them."""

import json

import numpy as np
import pytest
import workdirs

from jaxcls.cli.command import main
from jaxcls.data import class_tree
from jaxcls.measure import compare, decision, hierarchy
from jaxcls.measure.softmax import Softmax

CLASSES = ["cat", "dog", "car", "bus"]
PARENTS = {"cat": "animal", "dog": "animal", "car": "vehicle", "bus": "vehicle"}


@pytest.fixture
def tree():
    return class_tree.build(PARENTS, CLASSES, "tree")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tree.csv"
    path.write_text("".join(f"{child},{parent}\n" for child, parent in PARENTS.items()))
    return path


def make(folder, seed=0, ahead=1.2, **options):
    splits = {"validation": workdirs.draw(200, 4, seed, ahead), "test": workdirs.draw(160, 4, seed + 10, ahead)}
    return workdirs.write(folder, splits, classes=CLASSES, **options)


def run(capsys, *arguments):
    """(exit status, standard output, standard error)."""
    status = main([*map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_report_has_levels_where_a_tree_is_known(capsys, tmp_path, file, tree):
    workdir = make(tmp_path / "run")
    assert run(capsys, "report", workdir, "--no-pictures")[0] == 0
    assert "By level of the tree" not in (workdir / "report.html").read_text()
    status, _, err = run(capsys, "report", workdir, "--no-pictures", "--tree", file)
    assert (status, err) == (0, "")
    file.unlink()  # the copy is enough
    assert run(capsys, "report", workdir, "--no-pictures")[0] == 0
    page = (workdir / "report.html").read_text()
    assert "By level of the tree" in page and "animal, vehicle" in page and "Dearest mistakes" in page
    found = json.loads((workdir / "eval/test-10.json").read_text())["tree"]
    logits, label = workdirs.draw(160, 4, 10, 1.2)
    assert found["levels"][1]["accuracy"] == (logits.argmax(axis=1) == label).mean()
    assert found["levels"][0]["of_answer"] == (logits.argmax(axis=1) // 2 == label // 2).mean()
    assert f"{found['severity']:.3f}" in page and found["mistakes"] == (logits.argmax(axis=1) != label).sum()


def test_costs_of_the_tree_decide(capsys, tmp_path, file, tree):
    workdir = make(tmp_path / "run")
    status, out, err = run(capsys, "calibrate", workdir, "--costs", "tree")
    assert (status, out) == (2, "") and "has no tree of its classes; give one: --tree=FILE.csv" in err
    assert run(capsys, "calibrate", workdir, "--costs", "tree", "--tree", file)[0] == 0
    assert not (workdir / "class_tree.csv").exists() and decision.read(workdir, 10) is None
    assert run(capsys, "calibrate", workdir, "--costs", "tree", "--tree", file, "--apply")[0] == 0
    made = decision.read(workdir, 10)
    assert made["costs"] == [[0, 1, 2, 2], [1, 0, 2, 2], [2, 2, 0, 1], [2, 2, 1, 0]]
    status, out, _ = run(capsys, "calibrate", workdir, "--costs", "tree")  # the copy in the workdir
    assert status == 0 and "mean cost" in out
    assert run(capsys, "report", workdir, "--no-pictures")[0] == 0
    logits, label = workdirs.draw(160, 4, 10, 1.2)
    answer = decision.decide(made, decision.probabilities(made, logits))
    decided = hierarchy.figures(Softmax(logits), label, tree, answer)
    page = (workdir / "report.html").read_text()
    assert "As stored by “jaxcls calibrate”" in page and f"{decided['cost']:.3f}" in page
    status, _, err = run(capsys, "calibrate", workdir, "--tree", file)
    assert status == 2 and err.strip() == "error: --tree says what mistakes cost; give --costs tree with it"


def test_runs_are_compared_by_level(capsys, tmp_path, file, tree):
    a, b = make(tmp_path / "old"), make(tmp_path / "new", seed=1, ahead=2.5, config={"schedule": {"peak": 1.0}})
    assert "By level" not in run(capsys, "compare", a, b)[1]
    status, out, err = run(capsys, "compare", a, b, "--tree", file, "--out", tmp_path / "out")
    assert (status, err) == (0, "") and "## By level of the tree" in out and "level 1 %, 2 groups" in out
    found = json.loads((tmp_path / "out/comparison.json").read_text())["tree"]
    right = [
        hierarchy.right_at(Softmax(workdirs.draw(160, 4, seed + 10, ahead)[0]), np.arange(160) % 4, tree)
        for seed, ahead in ((0, 1.2), (1, 2.5))
    ]
    for i, test in enumerate(found["pairs"]):
        assert test["p"] == compare.mcnemar(right[0][i], right[1][i])["p"] <= test["p_holm"]
        assert test["difference"] == pytest.approx(right[1][i].mean() - right[0][i].mean())
    rows = found["runs"]
    assert found["costs"][0]["difference"] == pytest.approx(rows[1]["cost"] - rows[0]["cost"])
    assert [row["accuracy"] for row in rows] == [list(x.mean(axis=1)) for x in right]
    run(capsys, "report", b, "--no-pictures", "--tree", file)
    assert "## By level of the tree" in run(capsys, "compare", a, b)[1]  # one that any of them has stored


def test_a_file_that_can_not_be_used_is_one_line(capsys, tmp_path, file):
    workdir, other = make(tmp_path / "run"), make(tmp_path / "other")
    file.write_text("Cat,animal\ndog,animal\ncar,vehicle\nbus,vehicle\n")
    expected = f"error: --tree: {file} has no line for 1 of the classes, the first 'cat'; did you mean 'Cat'?\n"
    for words in (["report", workdir], ["calibrate", workdir, "--costs", "tree"], ["compare", workdir, other]):
        assert run(capsys, *words, "--tree", file) == (2, "", expected)
    (workdir / "class_tree.csv").write_text("cat,animal\n")
    status, _, err = run(capsys, "report", workdir, "--no-pictures")
    assert status == 2 and err.startswith("error: the run's class tree: ") and err.count("\n") == 1
