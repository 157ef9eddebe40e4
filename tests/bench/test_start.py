"""scripts/bench/start.py without the processes that it starts."""

import time

from scripts import load

bench, process = load("bench/start.py"), load("bench/_start_process.py")


def busy(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_each_instant_counts_for_the_innermost_part_alone():
    clock = process.Clock("")
    clock.tick()
    trace, lower = (name for name, kind in process.EVENTS.items() if kind in ("trace", "lower"))

    def body():
        busy(0.02)
        clock.event_begins(trace, 0.0)
        busy(0.02)
        clock.event_begins(lower, 0.0)  # of a constant, within the trace
        busy(0.02)
        clock.event_ends(lower, 0.0, fun_name="inner")
        clock.event_ends(trace, 0.0, fun_name="jit(f)")

    process.staged(clock, "model", body)()
    assert {kind: round(s, 2) for kind, s in clock.parts["model"].items()} == {
        "rest": 0.02,
        "trace": 0.02,
        "lower": 0.02,
    }
    (name, (seconds, calls)), *others = clock.functions.items()
    assert name == "trace f" and round(seconds, 2) == 0.04 and calls == 1 and not others


def test_the_table():
    told = {"cpu_s": 2.0, "parts": {"model": {"trace": 1.5, "rest": 0.5}}, "functions": {"trace f": [1.5, 2]}}
    table = list(bench.lines({"digits": {"cold": [told], "warm": []}}, top=3))
    assert table[0] == "digits, cold cache: 2.00 CPU s (least 2.00)"
    assert table[2].split() == ["model", "0.00", "1.50", "0.00", "0.00", "0.50", "2.00"]
    assert table[-1].split(": ")[1] == "trace f 1.50 s (2)"
