"""scripts/bench_report.py in its tiny form."""

import importlib.util
import json
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench_report.py"


def test_figures_are_timed(capsys):
    spec = importlib.util.spec_from_file_location("bench_report", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.main(["--count", "300", "--classes", "12", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["count"], result["classes"]) == (300, 12) and 0.5 < result["accuracy"] < 1
    assert min(result["figures_s"]) > 0 and min(result["temperature_s"]) > 0
    assert min(result["page_s"]) > 0 and 10_000 < result["page_bytes"] < 1e6
    assert len(list(script.lines(result))) >= 4
