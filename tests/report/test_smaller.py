"""What was pruned, and the plot of a smaller net's files beside those of what it was made of: on made-up files."""

import copy
import json
import os

import numpy as np
import pytest
from fake_runs import make_run
from html_page import Page

from jaxcls.report import exports, pareto, pruned
from jaxcls.report.evidence import Evidence
from jaxcls.report.page import write_report
from jaxcls.report.svg import LEFT, RIGHT, WIDTH, Plot

PERCENT = " %"  # as Page.text has it
PRUNED = {
    "parameters": [61706, 15964],
    "multiply_adds": [416520, 173340],
    "groups": {
        "conv1": {"units": 6, "kept": 4},
        "fc1": {"units": 120, "kept": 60},
        "fc3": {"units": 10, "kept": 10, "why": "the classes"},
    },
}


def entry(name, time, accuracy, precision="float32", **more):
    right = {"accuracy": accuracy, "interval": [accuracy - 0.02, accuracy + 0.01]}
    check = {"on": "400 of 400 validation pictures", "pictures": 400, "agreement": 0.99, "file": right, "run": right}
    machine = {"cpu": "a processor", "cores": 2, "system": "Linux x", "versions": {"onnxruntime": "1.32.0"}}
    latency = {"1": {"cpu_p50": time, "wall_p50": time}, "16": {"cpu_p50": 9 * time}}
    about = {"file": name, "precision": precision, "bytes": 1_500_000, "status": "ok", "check": check}
    return copy.deepcopy({**about, "latency": latency, "machine": machine, **more})


def run(folder, entries=None, *, of=None, fingerprint="f", **model):
    """The files of a workdir that the comparison reads."""
    (folder / "eval").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model": model}))
    (folder / "eval" / "validation-rows.json").write_text(json.dumps({"fingerprint": fingerprint}))
    if entries is not None:
        (folder / "export.json").write_text(json.dumps(entries))
    if of is not None:
        (folder / "prune.json").write_text(json.dumps({**PRUNED, "of": str(of)}))
    return Evidence(folder, config={"model": model})


def chain(folder, *more):
    """A run, pruned, and trained for INT8."""
    run(folder / "whole", [entry("a.onnx", 3.0, 0.95)])
    run(folder / "half", [entry("b.onnx", 1.0, 0.9), entry("b8.onnx", 2.0, 0.89, "int8")], of=folder / "whole")
    qat = [*more, entry("c.int8.onnx", 0.5, 0.88, "int8")]
    return run(folder / "qat", qat, quantize="int8", pretrained=str(folder / "half" / "checkpoints" / "40"))


def words(section):
    return Page(str(section.body)).text


def test_three_runs_are_compared_and_the_front_is_joined(tmp_path):
    evidence = chain(tmp_path)
    text = words(section := pareto.smaller(evidence))
    for shown in ("qat", "half", "whole", "c.int8.onnx", f"86.0{PERCENT} to 89.0{PERCENT}", "1.50", "27.00", "2 cores"):
        assert shown in text
    assert "Left out" not in text
    found = [v for folder in pareto.family(tmp_path / "qat", evidence.config) for v in pareto.read(folder, folder.name)]
    best = {v.file for v in found} - {
        v.file for v in found for w in found
        if (w.milliseconds, -w.accuracy) != (v.milliseconds, -v.accuracy)
        and w.milliseconds <= v.milliseconds and w.accuracy >= v.accuracy
    }  # fmt: skip
    assert best == {"a.onnx", "b.onnx", "c.int8.onnx"}  # all but b8.onnx, which b.onnx beats
    assert {v.file for v in found if v.point in exports.pareto([v.point for v in found])} == best
    assert str(section.body).count(">yes</td>") == len(best)


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ({"machine": {"cpu": "another", "cores": 8}}, "measured on another machine (another, 8 cores)"),
        ({"check": {"on": "9 made pictures", "file": {"accuracy": 0.9, "interval": [0.8, 1.0]}}}, "9 made pictures"),
        ({"status": "rejected"}, "odd.onnx, which was set aside"),
        ({"status": "not judged"}, "odd.onnx, which was not judged"),
        ({"latency": {}}, "odd.onnx, without accuracy or time"),
        ({"check": {"file": {"accuracy": "good"}}}, "odd.onnx, without accuracy or time"),
        ({"check": [], "latency": 3, "machine": None, "bytes": "x"}, "odd.onnx, without accuracy or time"),
    ],
)
def test_what_cannot_be_compared_is_left_out_and_told(tmp_path, odd, why):
    text = words(pareto.smaller(chain(tmp_path, entry("odd.onnx", 0.1, 0.99, **odd))))
    assert "Left out" in text and why in text and "c.int8.onnx" in text


def test_there_is_no_section_without_two_runs_that_can_be_compared(tmp_path):
    run(tmp_path / "whole", [entry("a.onnx", 3.0, 0.95)], fingerprint="f")
    other = run(tmp_path / "other", [entry("b.onnx", 1.0, 0.9)], of=tmp_path / "whole", fingerprint="g")
    assert pareto.smaller(other) is None  # other pictures of the same number
    assert pareto.smaller(run(tmp_path / "bare", of=tmp_path / "whole")) is None
    assert pareto.smaller(run(tmp_path / "gone", [entry("b.onnx", 1.0, 0.9)], of=tmp_path / "nowhere")) is None
    tuned = run(tmp_path / "tuned", [entry("b.onnx", 1.0, 0.9)], pretrained=str(tmp_path / "whole"))
    assert pareto.smaller(tuned) is None  # another net, not a smaller one


def test_a_chain_is_followed_from_elsewhere_and_ends(tmp_path):
    run(tmp_path / "runs" / "a", of="runs/b")
    run(tmp_path / "runs" / "b", of="runs/a")
    inside = os.path.relpath(tmp_path / "runs" / "a")
    for place in (tmp_path / "runs" / "a", type(tmp_path)(inside)):
        assert [folder.name for folder in pareto.family(place, {})] == ["a", "b"]
    for odd in ("\0", "x" * 5000, "", 3):
        assert len(pareto.family(tmp_path, {"model": {"quantize": "int8", "pretrained": odd}})) == 1


def test_what_was_pruned_in_numbers(tmp_path):
    text = words(pruned.pruned(run(tmp_path / "half", of="runs/<mine>")))
    assert f"61,706 → 15,964, that is 25.9{PERCENT}" in text and f"416,520 → 173,340, that is 41.6{PERCENT}" in text
    assert f"fc1 60 120 50.0{PERCENT}" in text and text.index("fc1") < text.index("conv1")
    assert "fc3: the classes" in text and "runs/<mine>" in text


def test_many_groups_are_summed(tmp_path):
    groups = {f"layer{i}": {"units": 100 - i, "kept": 50 - i % 3} for i in range(47)}
    evidence = run(tmp_path / "half")
    (tmp_path / "half" / "prune.json").write_text(json.dumps({**PRUNED, "groups": groups}))
    rest = [groups[f"layer{i}"] for i in range(40, 47)]
    kept, units = (sum(group[key] for group in rest) for key in ("kept", "units"))
    text = words(pruned.pruned(evidence))
    assert f"7 smaller groups together {kept} {units} " in text and "layer39" in text and "layer40" not in text


DAMAGED = ["", "[{", "3", "[]", "{}", '{"parameters": 3}', '{"parameters": [0, 1], "groups": 5}', '{"format": 9}']
ODD = [
    *DAMAGED,
    '{"parameters": [9, 5], "groups": [1]}',
    '{"parameters": [9, 5], "groups": {"a": {"units": 0}}, "of": 1}',
]


def test_no_damage_breaks_the_report(tmp_path):
    make_run(tmp_path / "mine")
    run(tmp_path / "whole", [])
    mine, theirs = tmp_path / "mine", tmp_path / "whole" / "export.json"
    (mine / "export.json").write_text(json.dumps([entry("b.onnx", 1.0, 0.9)]))
    for content in ODD:
        (mine / "prune.json").write_text(content)
        text = words(pruned.pruned(Evidence(mine)))
        assert ("damaged" in text or "not of a form" in text) == (content in DAMAGED) and len(text) < 300
        assert pareto.smaller(Evidence(mine)) is None
    (mine / "prune.json").write_text(json.dumps({**PRUNED, "of": str(tmp_path / "whole")}))
    good = entry("a.onnx", 2.0, 0.95)
    odd = [[{**good, key: value} for key in good for value in (None, 3, "x", [], {})], *map(json.loads, DAMAGED[2:])]
    for content in (*map(json.dumps, odd), "[{"):
        theirs.write_text(content)
        pareto.smaller(Evidence(mine))
    theirs.write_text(json.dumps([good, 7]))
    text = write_report(mine).read_text(encoding="utf-8")
    shown = Page(text).text
    assert "Smaller nets compared" in shown and "What was pruned" in shown and "an entry that this version" in shown
    (mine / "export.json").write_text(json.dumps(odd[0]))
    Page(write_report(mine).read_text(encoding="utf-8"))


def test_a_logarithmic_axis_and_words_that_hide_no_others():
    plot = Plot("t", "x", "y", (1.0, 100.0), (0.0, 1.0), log=True)
    wide = WIDTH - LEFT - RIGHT
    assert np.allclose(plot._x([1, 10, 100]), [LEFT, LEFT + wide / 2, LEFT + wide])
    for x in (50.0, 51.0, 99.0):
        plot.dots([x], [0.5])
        plot.note(x, 0.5, "float32")
    placed = [(float(a["x"]), float(a["y"])) for a in Page(str(plot.render())).all("text") if a["class"] == "small"]
    assert len(placed) == 3
    for i, (x, y) in enumerate(placed):
        assert LEFT <= x <= WIDTH - 7 * 6.4
        assert all(abs(x - a) >= 7 * 6.4 or abs(y - b) >= 12 for a, b in placed[:i])
