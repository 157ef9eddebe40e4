"""The section of exported files: from export.json, nothing without it, and the front by brute force."""

import json

import numpy as np
import pytest
from fake_runs import make_run
from html_page import Page

from jaxcls.errors import UserError
from jaxcls.report import exports
from jaxcls.report.page import write_report


def entry(name, time, accuracy, **more):
    right = {"accuracy": accuracy, "interval": [accuracy - 0.02, accuracy + 0.01]}
    check = {"on": "400 of 400 validation pictures", "agreement": 0.991, "file": right}
    check["run"] = {"accuracy": 0.93, "interval": [0.9, 0.95]}
    latency = {"1": {"wall_p50": time, "wall_p95": 2 * time}, "16": {"wall_p50": 9 * time, "wall_p95": 10 * time}}
    machine = {"cpu": "a processor", "cores": 2, "versions": {"onnxruntime": "1.32.0"}}
    return {
        "file": name, "step": 20, "precision": "int8", "bytes": 1_500_000, "status": "ok",
        "verdict": f"{name} is fine.",
        "check": check, "latency": latency, "run": {"1": {"wall_p50": 8.0}}, "machine": machine, **more,
    }  # fmt: skip


def page(tmp_path, content):
    if not (tmp_path / "eval").exists():
        make_run(tmp_path)
    if content is not None:
        (tmp_path / "export.json").write_text(content)
    return write_report(tmp_path).read_text(encoding="utf-8")


def test_no_exports_no_section(tmp_path):
    assert "Exported files" not in page(tmp_path, None)
    assert "Exported files" not in page(tmp_path, "[]")


def test_what_is_not_an_entry_is_left_out_and_a_damaged_file_is_a_line(tmp_path):
    assert "Exported files" not in page(tmp_path, json.dumps([1, {"file": "a.onnx"}]))
    with pytest.raises(UserError, match=r"export\.json"):
        page(tmp_path, "[{")


def test_all_variants_are_shown(tmp_path):
    other = {
        "latency": {"1": {"wall_p50": 0.9}},
        "agreement": 0.985,
        "file": {"accuracy": 0.92, "interval": [0.9, 0.94]},
    }
    made = [
        entry("a.onnx", 3.0, 0.93),
        entry("a.int8.onnx", 1.5, 0.92, openvino=other),
        entry("<b>.rejected.onnx", 1.0, 0.5, status="rejected"),
    ]
    text = page(tmp_path, json.dumps(made))
    Page(text)  # well-formed
    for shown in ("a.int8.onnx in OpenVINO", "98.5\N{NO-BREAK SPACE}%", "1.50", "(set aside)", "a.onnx is fine."):
        assert shown in text
    assert "<b>.rejected" not in text
    assert "Times of a processor, 2 cores; onnxruntime 1.32.0." in text
    assert "a.int8.onnx: 92.0\N{NO-BREAK SPACE}%, 1.50 milliseconds." in text


def test_of_sets_of_labels_map_is_shown(tmp_path):
    made = [entry("a.onnx", 3.0, 0.0)]
    for name, value in (("run", 0.417), ("file", 0.416)):
        made[0]["check"][name] = {"mAP": value, "interval": [0.4, 0.44]}
    text = page(tmp_path, json.dumps(made))
    for shown in (">mAP<", "mAP and time", "41.7\N{NO-BREAK SPACE}%", "41.6\N{NO-BREAK SPACE}%"):
        assert shown in text
    assert "Accuracy and time" not in text


def test_a_bare_entry_is_shown_without_a_plot(tmp_path):
    text = page(tmp_path, json.dumps([{"file": "a.onnx", "check": {}}]))
    assert "Exported files" in text and "Accuracy and time" not in text


def test_the_front_by_brute_force():
    rng = np.random.default_rng(0)
    found = [exports.Point(str(i), t, a, (0, 1)) for i, (t, a) in enumerate(rng.integers(1, 9, (40, 2)).tolist())]
    beaten = {
        p.name for p in found for q in found
        if q.milliseconds <= p.milliseconds and q.accuracy >= p.accuracy
        and (q.milliseconds, q.accuracy) != (p.milliseconds, p.accuracy)
    }  # fmt: skip
    front = {(p.milliseconds, p.accuracy) for p in found if p.name not in beaten}
    assert {(p.milliseconds, p.accuracy) for p in exports.pareto(found)} == front
