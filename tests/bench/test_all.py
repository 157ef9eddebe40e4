"""scripts/bench/all.py with made-up rows and commands."""

import argparse
import json
import re
import sys
from xml.etree import ElementTree

import pytest

from jaxcls.errors import UserError
from scripts import load

bench, jobs, page = load("bench/all.py"), load("bench/_speed_jobs.py"), load("bench/_speed_page.py")
MACHINE = {"cpu": "a chip", "cpus": 2, "measured_on": 1, "memory_gib": 23}


def line(values, what="step/resnet50", commit="abc", quick=False, machine=MACHINE):
    return {
        "what": what,
        "values": values,
        "commit": commit,
        "date": "2026-01-02T03:04:05+00:00",
        "machine": machine,
        "load": [0.1, 1.0],
        "quick": quick,
        "versions": {"jax": "0.10.2"},
    }


@pytest.mark.parametrize(
    ("unit", "old", "new", "worse"),
    [
        ("ms", 100, 111, 11),
        ("ms", 100, 109, None),
        ("ms", 100, 50, None),
        (jobs.TIMES, 1.0, 1.5, 50),
        (jobs.RATE, 115, 100, 15),
        (jobs.RATE, 100, 300, None),
        (jobs.SPEED, 2.0, 1.0, 100),
    ],
)
def test_a_regression_is_named(unit, old, new, worse):
    told = list(
        page.regressions([line({"step": [old, unit]}, commit="old"), line({"step": [new, unit]}, commit="new")])
    )
    assert len(told) == (worse is not None)
    if worse:
        assert told[0].startswith("step/resnet50, step: ") and f": {worse} % worse" in told[0]
        assert f"at new, {page.number(old)} at old" in told[0]


def test_only_the_last_two_lines_of_the_same_kind_are_compared():
    slow, fast = {"step": [100, "ms"]}, {"step": [10, "ms"]}
    other = MACHINE | {"cpu": "another chip"}
    before = [line(fast), line(slow), line(fast, machine=other), line(fast, quick=True), line(fast, what="step/vit")]
    assert list(page.regressions([*before, line(slow)])) == []
    assert len(list(page.regressions([*before, line({"step": [120, "ms"], "new": [1, "ms"]})]))) == 1
    assert list(page.regressions([line({"step": [0, "ms"]}), line(slow)])) == []  # nothing to divide by
    theirs = [line({"PyTorch forward": [ms, "ms"]}) for ms in (1, 2)]
    assert list(page.regressions(theirs)) == []
    assert list(page.regressions([line(v, what="input/eval, pillow") for v in (fast, slow)])) == []


def test_tables():
    values = {"CPU": [123.456, "ms"], "x Pillow": [1.0666, jobs.SPEED]}
    lines = [line({"CPU": [1, "ms"]}), line(values), line({"CPU": [5, "ms"]}, what="step/vit")]
    text = "\n".join(page.tables(lines))
    assert "| step | CPU, ms | x Pillow, times the speed |\n|---|---|---|\n" in text
    assert "| resnet50 | 123 | 1.07 |\n| vit | 5 |  |\n" in text
    assert "2026-01-02, commit abc, a chip, 1 of 2 cores, 23 GiB; jax 0.10.2; load 0.1 to 1.0." in text


def test_the_page(tmp_path):
    lines = [line({f"column {i}": [i + k, "ms"] for i in range(1, 8)}, commit=f"c{k}") for k in range(3)]
    page.write_page([*lines, line({"start": [1.0, "s"]}, what="start/digits <&>")], tmp_path / "speed.html")
    text = (tmp_path / "speed.html").read_text()
    assert "50 % worse" in text and "digits &lt;&amp;&gt;" in text
    plots = [ElementTree.fromstring(svg) for svg in re.findall("<svg.*?</svg>", text, re.DOTALL)]
    assert [len(plot.findall("path")) for plot in plots] == [5, 2, 1]  # five curves can be told apart


def test_rows_are_appended_and_read(tmp_path):
    out = tmp_path / "new" / "speed.jsonl"
    assert bench.stored(out) == []
    for value in (1 / 3, 2e6 / 3):
        bench.append(out, [line({"step": (value, "ms")})])
    assert [found["values"] for found in bench.stored(out)] == [{"step": [0.33333, "ms"]}, {"step": [666670.0, "ms"]}]
    out.write_text('{"what"')
    with pytest.raises(UserError, match=r"line 1 is no JSON"):
        bench.stored(out)
    with pytest.raises(UserError, match="--out"):
        bench.append(out / "below", [])


def test_a_row_that_fails_is_told_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    result = {"model": "lenet5", "batch": 2, "step_cpu_ms": 8.0, "peers": {}, "compile_s": 1.0}
    scripts = {"good.py": f"print({json.dumps(json.dumps(result))})", "bad.py": "print(1)\nraise ValueError('a fault')"}
    for name, text in scripts.items():
        (tmp_path / name).write_text(text)
    made = [jobs.Job(f"step/{name}", name, [], [], jobs.step_rows) for name in ("bad.py", "good.py")]
    peer = jobs.Job("forward_one/x", "none.py", [], [], jobs.forward_one_rows, peers=True)
    monkeypatch.setattr(bench, "jobs", lambda _: [*made, peer])
    monkeypatch.setattr(bench, "HERE", tmp_path)
    monkeypatch.setattr(bench, "PEERS", ("no-such-package",))
    monkeypatch.setattr(bench, "command", lambda job, python, args: [python, str(tmp_path / job.script)])
    out = tmp_path / "speed.jsonl"
    assert bench.main(["--out", str(out)]) == 1
    (kept,) = bench.stored(out)
    assert kept["what"] == "step/lenet5" and kept["values"]["step, CPU a picture"] == [4.0, "ms"]
    assert kept["versions"]["jax"] and len(kept["load"]) == 2 and kept["machine"]["cpus"]
    told = capsys.readouterr().out
    assert "step/bad.py: failed: ValueError: a fault (status 1)" in told
    assert "forward_one/x: skipped, no-such-package not installed" in told
    assert "| lenet5 | 4 | 1 |" in told and out.with_suffix(".html").exists()


def test_names(capsys):
    names = [job.name for job in jobs.jobs()]
    assert len(set(names)) == len(names) and {name.split("/")[0] for name in names} == set(jobs.TABLES)
    assert all((bench.HERE / job.script).exists() for job in jobs.jobs())
    args = argparse.Namespace(only=["step/swin_t", "input"], tf_python=sys.executable)
    assert [job.name for job in bench.wanted(args)] == ["step/swin_t", "input"]
    assert bench.main(["--only", "nothing"]) == 2
    assert "--only nothing" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        bench.main(["--quick"])
