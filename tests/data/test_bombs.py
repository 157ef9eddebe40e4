"""Small files can't take large memory or time: every bomb of tests/bombs.py, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bombs import ALLOWED, QUICK

from scripts import SCRIPTS

SECONDS, MEBIBYTES = 2, 500  # of a picture, over what the command has taken before
SLOWER = 3  # a machine on which other tests run at the same time
WORKER = SCRIPTS / "bench" / "_attack_worker.py"


def measured(made, folder):
    """name -> what came of it, with seconds of the processor and mebibytes at the peak, or the status it died with."""
    for name, make in made.items():  # here: what making them takes would count as the runner's own
        (folder / name).write_bytes(make())
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS.parent)}
    paths = "".join(json.dumps(str(folder / name)) + "\n" for name in made)
    command = [sys.executable, str(WORKER)]
    run = subprocess.run(command, env=environment, input=paths, capture_output=True, text=True, timeout=500)
    assert run.returncode == 0 and run.stderr == "", run.stderr
    found = {name: {} for name in made}
    for line in run.stdout.splitlines():
        record = json.loads(line)
        found[Path(record["name"]).name].update(record)
    return found


def check(made, folder):
    for record in measured(made, folder).values():
        assert record["status"] == 0 and record["bytes"] < 3 * 2**20, record
        assert record["mebibytes"] < MEBIBYTES and record["seconds"] < SECONDS * SLOWER, record
        for answer, shape in zip(record["answers"], ([224, 224, 3], [32, 32, 3]), strict=True):
            assert answer == shape or isinstance(answer, str) and "\n" not in answer, record


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="tells memory as Linux does")
def test_small_files_take_no_large_memory_or_time(tmp_path):
    check(QUICK, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="tells memory as Linux does")
def test_what_is_allowed_stays_within_the_bounds_too(tmp_path):
    check(ALLOWED, tmp_path)
