"""export.json: an entry a file, replaced by a new export of it; the table."""

import json

import pytest

from jaxcls.errors import UserError
from jaxcls.export import record

TIMES = {"wall_p50": 1.5, "wall_p95": 2.5, "cpu_p50": 1.25, "cpu_p95": 2.0}


def entry(name, **more):
    check = {"agreement": 0.99, "run": {"accuracy": 0.9, "interval": [0.8, 0.95]}}
    check["file"] = {"accuracy": 0.89, "interval": [0.79, 0.94]}
    times = {"1": TIMES, "16": TIMES}
    return {
        "file": name, "path": f"/x/{name}", "precision": "int8", "bytes": 1_234_567, "check": check, "status": "ok",
        "latency": times, "run": times, **more,
    }  # fmt: skip


def test_a_new_export_replaces_the_entry_of_its_file(tmp_path):
    place = record.path(tmp_path, tmp_path / "a.onnx")
    assert place == tmp_path / "export.json"
    assert record.read(tmp_path) == []
    record.write(place, [entry("a.onnx"), entry("a.int8.rejected.onnx")])
    record.write(place, [entry("b.onnx"), entry("a.int8.onnx", replaces="/x/a.int8.rejected.onnx")])
    record.write(place, [entry("a.onnx", step=7)])
    found = record.read(tmp_path)
    assert [e["file"] for e in found] == ["b.onnx", "a.int8.onnx", "a.onnx"]
    assert found[-1]["step"] == 7
    assert "replaces" not in found[1]


def test_a_bare_model_is_recorded_beside_its_file(tmp_path):
    assert record.path(None, tmp_path / "net.onnx") == tmp_path / "net.onnx.json"


def test_a_damaged_record_is_a_line(tmp_path):
    (tmp_path / "export.json").write_text("[{")
    with pytest.raises(UserError, match="export.json"):
        record.read(tmp_path)
    (tmp_path / "export.json").write_text(json.dumps({"of": "others"}))
    assert record.read(tmp_path) == []


def test_the_table_has_fixed_columns():
    lines = record.table([entry("a.int8.onnx", openvino={"latency": {"1": TIMES}, "agreement": 0.98}), entry("b.onnx")])
    assert len(lines) == 5
    assert lines[1].startswith("(the run, JAX)") and "90.00 (80.0 to 95.0)" in lines[1]
    assert lines[2].split() == [
        "a.int8.onnx", "int8", "1.23", "89.00", "(79.0", "to", "94.0)", "99.0", "%", "1.50/2.50", "1.25", "1.50/2.50",
        "1.25",
    ]  # fmt: skip
    assert len({line.rindex("int8") for line in (lines[2], lines[4])}) == 1
