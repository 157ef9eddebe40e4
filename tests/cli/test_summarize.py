"""`jaxcls summarize`: the counts of models/summary.py, and the compiled model's speed, as JSON and as text."""

import json

import pytest

from jaxcls.cli.command import main
from jaxcls.models import timing


def run(capsys, arguments):
    """(exit status, standard output, standard error)."""
    status = main(["summarize", *arguments.split()])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_json(capsys):
    status, out, _ = run(capsys, "resnet18 --size 32x48 --classes 10 --field stem=cifar --by layer --json")
    report = json.loads(out)
    assert status == 0
    assert (report["parameters"], report["picture"], report["fields"]) == (11_173_962, [32, 48, 3], {"stem": "cifar"})
    assert report["rows"][0] == {"name": "conv1", "kind": "Conv", "output": [32, 48, 64], "parameters": 1728,
                                 "multiply_adds": 32 * 48 * 1728, "activations": 32 * 48 * 64}  # fmt: skip
    assert sum(row["multiply_adds"] for row in report["rows"]) == report["multiply_adds"]
    assert "published_gmacs" not in report  # it is for another picture


def test_text(capsys):
    status, out, _ = run(capsys, "resnet50")
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert status == 0
    assert ["stage1", "56x56x256", "215,808", "667,942,912", "4,415,488"] in lines
    assert ["total", "25,557,032", "4,089,184,256", "11,114,984"] in lines
    assert "multiply-adds   4.089 G (published: 4.089 G)" in out and "parameters      97.5 MiB" in out


def test_every_parameter_has_a_line(capsys):
    status, out, _ = run(capsys, "lenet5 --by parameter --json")
    rows = {row["name"]: row for row in json.loads(out)["rows"]}
    assert status == 0 and sum(row["parameters"] for row in rows.values()) == 61_706
    assert rows["conv1/kernel"] == {
        "name": "conv1/kernel",
        "shape": [5, 5, 1, 6],
        "dtype": "float32",
        "parameters": 150,
    }
    status, out, _ = run(capsys, "lenet5 --by parameter")
    lines = [line.replace("|", " ").split() for line in out.splitlines()]
    assert status == 0 and ["fc3/kernel", "(84,", "10)", "float32", "840"] in lines


def test_measures_the_compiled_model(capsys, monkeypatch):
    monkeypatch.setattr(timing, "RUNS", 3)
    monkeypatch.setattr(timing, "LEAST", 2)
    status, out, _ = run(capsys, "lenet5 --batch 1 16 --precision bfloat16 --json")
    report = json.loads(out)
    assert status == 0 and report["platform"] == "cpu" and report["device"]
    one, more = report["measured"]
    assert (one["batch"], more["batch"], more["runs"]) == (1, 16, 3)
    assert more["pictures_per_second"] == pytest.approx(16e3 / more["latency_ms"])
    assert 0 < more["latency_ms_min"] <= more["latency_ms"]
    pictures = 32 * 32 * 4
    assert one["peak_bytes"] > 61_706 * 4 + pictures and more["peak_bytes"] > one["peak_bytes"] + 15 * pictures
    status, out, _ = run(capsys, "lenet5 --batch 2")
    assert "cpu" in out and "pictures/s" in out


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("resnet19", "no model 'resnet19'; did you mean 'resnet18'"),
        ("vgg11 --size 16", "32x32 or larger, not 16x16"),
        ("resnet18 --field stem=mnist", "stem must be one of imagenet"),
        ("resnet18 --field stemm=cifar", "no field 'stemm'; did you mean 'stem'"),
        ("resnet18 --field stem", "NAME=VALUE"),
        ("resnet18 --field width=wide", "field 'width' of model 'resnet18' must be a whole number"),
    ],
)
def test_errors_are_one_line(capsys, arguments, message):
    status, out, err = run(capsys, arguments)
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and message in err and err.count("\n") == 1


@pytest.mark.parametrize("arguments", ["", "resnet18 --size 0", "resnet18 --batch 0", "resnet18 --classes -3"])
def test_usage(capsys, arguments):
    status, out, err = run(capsys, arguments)
    assert (status, out) == (2, "") and err.count("\n") == 1 and "see jaxcls summarize --help" in err
