"""What a file is held against, and what is made of it, by hand and by scipy."""

import math
import types

import numpy as np
import pytest

from jaxcls.data.base import ArraySource
from jaxcls.errors import UserError

check = pytest.importorskip("jaxcls.export.check")
from jaxcls.export import latency, pictures  # noqa: E402


def logits(n=200, classes=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, classes)).astype(np.float32) * 3


def test_figures_by_hand():
    run = np.array([[2.0, 0, 0], [0, 4, 0], [0, 0, 1], [1, 0, 0]], np.float32)
    file = np.array([[2.0, 0, 0.5], [0, 0, 3], [0, 0, 1], [1, 0, 0]], np.float32)
    found = check.compared(run, file, np.array([0, 1, 1, 0]))
    assert found["largest_difference"] == 4
    assert found["relative"] == 1
    assert found["mean_difference"] == pytest.approx(7.5 / 12)
    assert found["agreement"] == 0.75
    assert found["changed"] == 1
    assert (found["run"]["correct"], found["file"]["correct"]) == (3, 2)
    assert found["drop"] == 0.25
    assert found["mcnemar"] == {"only_a": 1, "only_b": 0, "p": 1.0}


def test_mcnemar_is_the_binomial_test():
    from scipy.stats import binomtest

    run, label = logits(), logits().argmax(axis=1)
    file = run.copy()
    file[:9] = np.roll(file[:9], 1, axis=1)
    label[9:12] = (label[9:12] + 1) % 4
    file[9:12] = np.eye(4, dtype=np.float32)[label[9:12]] * 9
    found = check.compared(run, file, label)
    assert found["mcnemar"]["p"] == pytest.approx(binomtest(3, 12).pvalue)
    assert found["drop"] == pytest.approx(6 / 200)
    low, high = found["drop_interval"]
    assert low < found["drop"] < high


def test_ties_within_rounding_are_no_changes():
    run = np.array([[1.0, 1.0 + 1e-5, 0], [3, 0, 0]], np.float32)
    file = np.array([[1.0 + 2e-5, 1.0, 0], [3, 0, 0]], np.float32)
    found = check.compared(run, file)
    assert (found["agreement"], found["changed"]) == (0.5, 0)
    assert check.verdict(found, "a.onnx", "float32", max_drop=1)[0] == "ok"


def test_what_is_no_number():
    run, file = logits(8), logits(8)
    file[3, 1] = np.nan
    found = check.compared(run, file, np.zeros(8, int))
    assert math.isinf(found["relative"])
    for precision in ("float32", "float16", "int8"):
        assert check.verdict(found, "a.onnx", precision, max_drop=100)[0] == "rejected"
    run[3, 1] = np.nan  # the run's own: alike
    assert check.compared(run, file, np.zeros(8, int))["relative"] == 0


def verdict(wrong, n=200, **options):
    run = logits(n)
    file = run.copy()
    file[:wrong] = np.roll(file[:wrong], 1, axis=1)
    found = check.compared(run, file, run.argmax(axis=1))
    return check.verdict(found, "a.int8.onnx", "int8", **{"max_drop": 1.0, **options})


def test_a_drop_is_an_error_only_beyond_noise_and_what_was_allowed():
    assert verdict(0) == ("ok", "a.int8.onnx and the run are equally accurate here.")
    status, sentence = verdict(4)  # 2 points, p = 0.125
    assert status == "ok" and "may well be noise" in sentence
    status, sentence = verdict(10)  # 5 points, p = 0.002
    assert status == "rejected" and "worse than the run by 5.00 points" in sentence and "--max-drop is 1" in sentence
    assert verdict(10, max_drop=6.0)[0] == "ok"
    status, sentence = verdict(10, unjudged="this processor has no VNNI")
    assert status == "not judged" and sentence.endswith("not judged: this processor has no VNNI.")


def test_a_float_file_may_differ_by_rounding_alone():
    run = logits()
    for error, status in ((1e-5, "ok"), (5e-3, "rejected")):
        found = check.compared(run, run + error * np.abs(run).max())
        assert check.verdict(found, "a.onnx", "float32", max_drop=1)[0] == status


def test_features_have_no_classes():
    found = check.compared(logits(), logits(), classes=False)
    assert "agreement" not in found
    assert check.verdict(found, "a.onnx", "float32", max_drop=1)[0] == "ok"
    assert check.verdict(found, "a.onnx", "float16", max_drop=1)[0] == "not judged"


def test_pictures_of_a_split_are_spread_and_skipped_where_unreadable():
    images = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    source = ArraySource(images, np.arange(20) // 10, ("a", "b"), [str(i) for i in range(20)])

    def host(image, name, _):
        if name == "5":
            raise UserError("5: damaged")
        return image

    evaluation = types.SimpleNamespace(host=host)
    data = types.SimpleNamespace(sources={"train": source}, evaluation=evaluation, skipped=print)
    calibration, held_out = pictures.calibration_rows(20, 64, 6)
    assert len(calibration) == 10 and len(held_out) == 6
    assert not set(calibration) & set(held_out)
    assert {0, 19} <= set(calibration)
    split = pictures.of_split(data, "train", np.array([0, 5, 19]))
    assert split.about == "3 of 20 training pictures"
    found = list(split.batches(2))
    assert [numbers.tolist() for numbers, _ in found] == [[0, 2]]
    assert found[0][1][:, 0, 0, 0].tolist() == [0, 19]
    numbers, answers = check.answers({"mean": lambda x: x.mean(axis=(1, 2))}, split)
    assert numbers.tolist() == [0, 2] and answers["mean"].tolist() == [[0] * 3, [19] * 3]
    data.skipped = None
    with pytest.raises(UserError, match="damaged"):
        list(split.batches(2))


def test_made_pictures_are_the_same_each_time():
    first, second = (np.concatenate([batch for _, batch in pictures.made((9, 7, 3)).batches(4)]) for _ in "ab")
    assert np.array_equal(first, second)
    assert first.shape == (8, 9, 7, 3) and len(np.unique(first)) > 50


@pytest.mark.parametrize(
    "target, machine, flags, lacks",
    [
        ("any", "x86_64", set(), ""),
        ("vnni", "x86_64", {"avx2"}, "no VNNI"),
        ("vnni", "x86_64", {"avx512_vnni"}, ""),
        ("arm", "x86_64", set(), "no ARM"),
        ("arm", "aarch64", set(), ""),
    ],
)
def test_what_a_machine_can_judge(target, machine, flags, lacks, monkeypatch):
    monkeypatch.setattr(latency.platform, "machine", lambda: machine)
    monkeypatch.setattr(latency, "flags", lambda: flags)
    assert lacks in latency.lacks(target) and bool(lacks) == bool(latency.lacks(target))


def test_times_are_taken_in_turns():
    calls = []
    asked = {name: lambda x, name=name: calls.append((name, len(x))) for name in ("a", "b")}
    found = latency.measure(asked, (2, 2, 3), seconds=0)
    turn = ["a", "a", "b", "b"] * latency.LEAST  # each once untimed, then timed
    assert calls == [(name, n) for n in latency.BATCHES for name in ["a", "b", *turn]]
    assert found["a"]["16"]["turns"] == latency.LEAST
    assert found["b"]["1"]["wall_p50"] <= found["b"]["1"]["wall_p95"]
