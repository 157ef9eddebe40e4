"""scripts/bench/report.py in its tiny form."""

from scripts import load, run_json

bench = load("bench/report.py")


def test_figures_are_timed(capsys):
    result = run_json(bench, capsys, "--count 300 --classes 12")
    assert (result["count"], result["classes"]) == (300, 12) and 0.5 < result["accuracy"] < 1
    assert min(result["figures_s"]) > 0 and min(result["temperature_s"]) > 0
    assert min(result["page_s"]) > 0 and 10_000 < result["page_bytes"] < 1e6
    assert len(list(bench.lines(result))) >= 4
