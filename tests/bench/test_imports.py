"""scripts/bench/imports.py in its tiny form."""

import json
import subprocess
import sys

from scripts import load

bench = load("bench/imports.py")


def test_import():
    # A process of its own: at its start a process counts its parent's memory as its own peak.
    arguments = ["--json", "--rounds", "1", "--top", "3", "--cases", "python", "numpy", "import", "help"]
    r = json.loads(subprocess.check_output([sys.executable, bench.__file__, *arguments]))
    assert len(list(bench.lines(r))) == 9
    assert r["python"]["heavy"] == [] and r["numpy"]["heavy"] == ["numpy"]
    assert not {"jax", "tensorflow"} & {*r["import"]["heavy"], *r["help"]["heavy"]}
    assert r["numpy"]["imports"][0][1] == "numpy"
    for figure in ("cpu_s", "peak_rss_bytes"):
        assert 0 < r["python"][figure] < r["numpy"][figure]
