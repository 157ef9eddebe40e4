"""`jaxcls compare` on workdirs as runs leave them."""

import json
from pathlib import Path

import numpy as np
import pytest
import workdirs
from scipy import stats

from jaxcls.cli.command import main
from jaxcls.measure import compare, runs

LINES = [
    {"step": s, "split": split, "epoch": s / 10, "time": s, "loss": 1 / s, "accuracy": 1 - 1 / s,
     **({"pictures_per_second": speed} if split == "train" else {})}
    for s, speed in ((10, 5.0), (20, 100.0), (30, 300.0)) for split in ("train", "validation")
]  # fmt: skip


def predictions(right, classes=3):
    """(logits, labels) of a model that is right where `right` is."""
    label = np.arange(len(right)) % classes
    return np.eye(classes)[np.where(right, label, (label + 1) % classes)], label


def write(folder, right, seed=0, rate=0.1, **options):
    config = {"seed": seed, "data": {"name": "digits"}, "schedule": {"peak": rate}}
    return workdirs.write(folder, {"test": predictions(right)}, config=config, lines=LINES, **options)


def compared(capsys, *arguments):
    """(exit status, standard output, standard error)."""
    status = main(["compare", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_two_runs_are_compared_picture_by_picture(capsys, tmp_path):
    a, b = np.arange(200) < 150, (np.arange(200) < 178) & (np.arange(200) > 4)
    folders = write(tmp_path / "old", a), write(tmp_path / "new", b, rate=0.2)
    status, out, err = compared(capsys, *folders, "--out", tmp_path / "out")
    assert (status, err) == (0, "")
    found = json.loads((tmp_path / "out/comparison.json").read_text())
    p = stats.binomtest(5, 33).pvalue
    pair = found["pairs"][0]
    assert (pair["a"], pair["b"], pair["only_a"], pair["only_b"]) == ("old", "new", 5, 28)
    assert pair["p"] == pair["p_holm"] == pytest.approx(p)
    assert pair["difference"] == pytest.approx(23 / 200) and pair["interval"][0] > 0
    assert pair["interval"] == compare.bootstrap_difference(a, b)["interval"]
    assert found["verdict"] == ["new is better than old by 11.50 points: more than noise (McNemar, p < 0.0001)."]
    assert found["changes"] == {"schedule.peak": [0.1, 0.2]}
    row = found["runs"][1]
    assert (row["name"], row["correct"], row["parameters"], row["pictures_per_second"]) == ("new", 173, 1234, 200.0)
    text = (tmp_path / "out/comparison.md").read_text()
    assert text in out and "**new is better than old" in text and "| schedule.peak | 0.1 | 0.2 |" in text
    assert (tmp_path / "out/comparison.png").read_bytes()[:4] == b"\x89PNG"
    assert "<svg" in (tmp_path / "out/comparison.svg").read_text()


def test_nothing_is_written_unless_asked_and_noise_is_called_so(capsys, tmp_path):
    folders = write(tmp_path / "a", np.arange(60) < 40), write(tmp_path / "b", np.arange(60) < 41, rate=1.0)
    before = sorted(tmp_path.rglob("*"))
    status, out, _ = compared(capsys, *folders)
    assert status == 0 and "b is 1.67 points above a, which may well be noise (McNemar, p = 1)" in out
    assert sorted(tmp_path.rglob("*")) == before


def test_several_runs_are_corrected_for(capsys, tmp_path):
    right = [np.arange(100) < n for n in (60, 66, 75)]
    folders = [write(tmp_path / name, r, rate=i) for i, (name, r) in enumerate(zip("abc", right, strict=True))]
    assert compared(capsys, *folders, "--out", tmp_path / "out")[0] == 0
    found = json.loads((tmp_path / "out/comparison.json").read_text())
    p = [stats.binomtest(0, n).pvalue for n in (6, 15)]
    assert [e["p"] for e in found["pairs"]] == pytest.approx(p)
    assert [e["p_holm"] for e in found["pairs"]] == pytest.approx([p[0], 2 * p[1]])
    assert "corrected for 2 comparisons" in (tmp_path / "out/comparison.md").read_text()


def test_seeds_are_grouped_and_settings_compared_over_them(capsys, tmp_path):
    numbers = {"base": (70, 74, 72), "more": (80, 83, 85)}
    folders = [
        write(tmp_path / name / f"seed-{s}", np.arange(100) < n, seed=s, rate=len(name) + (name == "more"))
        for name in numbers for s, n in enumerate(numbers[name])
    ]  # fmt: skip
    status, out, _ = compared(capsys, *folders, "--out", tmp_path / "out")
    assert status == 0
    found = json.loads((tmp_path / "out/comparison.json").read_text())
    assert [entry["runs"] for entry in found["settings"]] == [[f"{n}/seed-{s}" for s in range(3)] for n in numbers]
    assert [entry["mean"] for entry in found["settings"]] == pytest.approx([0.72, 0.8266667])
    welch = stats.ttest_ind(np.array(numbers["more"]) / 100, np.array(numbers["base"]) / 100, equal_var=False)
    assert found["over_seeds"][0]["p"] == pytest.approx(welch.pvalue)
    assert [(e["a"], e["b"]) for e in found["pairs"]] == [(f"base/seed-{s}", f"more/seed-{s}") for s in range(3)]
    assert found["verdict"] == [
        f"more (3 seeds) is better than base (3 seeds) by 10.67 points: more than noise "
        f"(Welch over seeds, p {compare.p_text(welch.pvalue)})."
    ]
    assert "Welch's test is about the settings" in out and "McNemar's test" in out


def test_a_setting_with_one_run_is_judged_by_its_pictures(capsys, tmp_path):
    folders = [write(tmp_path / f"base-{s}", np.arange(100) < 70, seed=s) for s in (0, 1)]
    folders.append(write(tmp_path / "other", np.arange(100) < 90, rate=0.2))
    status, out, _ = compared(capsys, *folders)
    assert status == 0 and "other is better than base-0 by 20.00 points" in out and "base (2 seeds)" in out


def test_seeds_of_one_setting_show_what_noise_is(capsys, tmp_path):
    folders = [write(tmp_path / f"s{s}", np.arange(100) < 70 + s, seed=s) for s in (0, 1)]
    status, out, _ = compared(capsys, *folders)
    assert status == 0 and "s1 is 1.00 points above s0, which may well be noise" in out


def test_rows_in_another_order_are_the_same_rows(capsys, tmp_path):
    a, b = write(tmp_path / "a", np.arange(60) < 40), write(tmp_path / "b", np.arange(60) < 40, rate=1.0)
    order = np.random.default_rng(0).permutation(60)
    with np.load(b / "eval/test-10.npz") as file:
        shuffled = {name: file[name][order] for name in file.files}
    np.savez(b / "eval/test-10.npz", **shuffled)
    status, out, _ = compared(capsys, a, b)
    assert status == 0 and "b and a are equally accurate here" in out


def test_other_pictures_are_refused(capsys, tmp_path):
    right = np.arange(60) < 40
    a = write(tmp_path / "a", right, ids={"test": [f"x/{i}" for i in range(60)]})

    def refused(name, *, message, n=60, **options):
        folder = write(tmp_path / name, right[:n], rate=1.0, **options)
        status, out, err = compared(capsys, a, folder)
        assert (status, out) == (2, "") and err.count("\n") == 1 and message in err

    refused("fewer", n=59, message="60 and 59 rows")
    refused("classes", classes=["x", "y", "z"], message="different names or another order")
    refused("ids", ids={"test": [f"y/{i}" for i in range(60)]}, message="rows or labels differ")
    other = workdirs.write(tmp_path / "data", {"test": predictions(right)}, fingerprint="f1",
                           config={"data": {"name": "folder/else"}})  # fmt: skip
    status, _, err = compared(capsys, a, other)
    assert status == 2 and "evaluate both again with `jaxcls eval`" in err
    split = write(tmp_path / "seed", right, seed=3, rate=2.0)
    with np.load(split / "eval/test-10.npz") as file:
        moved = {**file, "index": file["index"] + 1}
    np.savez(split / "eval/test-10.npz", **moved)
    status, _, err = compared(capsys, a, split)
    assert status == 2 and "their seeds, 0 and 3, draw different splits" in err


def test_names_of_rows_outweigh_another_fingerprint(capsys, tmp_path):
    right, ids = np.arange(60) < 40, {"test": [f"x/{i}" for i in range(60)]}
    a = write(tmp_path / "a", right, ids=ids)
    b = workdirs.write(tmp_path / "b", {"test": predictions(right)}, fingerprint="f1", ids=ids,
                       config={"data": {"name": "folder/cleaned"}})  # fmt: skip
    assert compared(capsys, a, b)[0] == 0


def test_validation_is_taken_where_test_is_missing_and_called_optimistic(capsys, tmp_path):
    right = np.arange(60) < 40
    a = workdirs.write(tmp_path / "a", {"validation": predictions(right), "test": predictions(right)})
    b = workdirs.write(tmp_path / "b", {"validation": predictions(right)}, config={"batch_size": 8}, best=None)
    status, out, _ = compared(capsys, a, b)
    assert status == 0 and "2 runs on validation" in out and "optimistic" in out
    status, _, err = compared(capsys, a, b, "--split", "test")
    assert status == 2 and "b holds no logits of test" in err


@pytest.mark.parametrize("which, message", [
    (["a"], "give two runs or more"),
    (["a", "a"], "is given twice"),
    (["a", "absent"], "is no workdir of a run that was evaluated"),
    (["a", "validation"], "no split in common"),
])  # fmt: skip
def test_what_is_no_pair_of_runs_is_one_line(capsys, tmp_path, which, message):
    write(tmp_path / "a", np.arange(60) < 40)
    workdirs.write(tmp_path / "validation", {"validation": predictions(np.arange(60) < 40)}, best=None)
    status, out, err = compared(capsys, *[tmp_path / name for name in which])
    assert (status, out) == (2, "") and err.count("\n") == 1 and message in err


def test_a_key_younger_than_a_run_had_its_default(tmp_path):
    right = np.arange(60) < 40
    a = workdirs.write(tmp_path / "a", {"test": predictions(right)}, config={"ema_decay": 0.0})
    b = workdirs.write(tmp_path / "b", {"test": predictions(right)}, config={"model": {"fields": {"width": 8}}})
    opened = runs.load([a, b])
    assert runs.changes(opened) == {"model.fields.width": [None, 8]}


def test_names_are_as_short_as_they_can_be():
    names = runs.names([Path("/r/a/seed-0"), Path("/r/b/seed-0")])
    assert names == ["a/seed-0", "b/seed-0"]
    assert runs.names([Path("/r/a"), Path("/r/a/more")]) == ["a", "more"]
