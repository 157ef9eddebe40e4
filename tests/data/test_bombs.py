"""Small files can't take large memory or time: every bomb of tests/bombs.py, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bombs import ALLOWED, QUICK

TESTS = Path(__file__).parents[1]
SECONDS, MEBIBYTES = 2, 500  # of a picture, over what the command has taken before
SLOWER = 3  # a machine on which other tests run at the same time
RUNNER = """
import json, os, pathlib, resource, sys, time
import pictures
from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.errors import UserError
ways = [Preprocessing(("resize(256)", "center_crop(224)")), Preprocessing(picture=(32, 32, 3))]
for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF"):  # so that all is imported
    for way in ways:
        way.prepare(pictures.encode(pictures.smooth(), kind))
small = pictures.encode(pictures.smooth(), "PNG")
def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1])
def one(encoded, name):
    one_of_each = ways[0].prepare(small, name), ways[1].prepare(small, name)  # the pages of a fork come one by one
    before, slowest, answers = resident(), 0, []
    for way in ways:
        start = time.process_time()
        try:
            answers.append(list(way.prepare(encoded, name).shape))
        except UserError as error:
            answers.append(str(error))
        slowest = max(slowest, time.process_time() - start)
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"name": name, "seconds": slowest, "mebibytes": more / 1024, "answers": answers, "bytes": len(encoded)}
for path in map(pathlib.Path, sys.argv[1:]):
    name = path.name
    if not (child := os.fork()):
        print(json.dumps(one(path.read_bytes(), name)), flush=True)
        os._exit(0)
    print(json.dumps({"name": name, "status": os.waitpid(child, 0)[1]}), flush=True)
"""


def measured(made, folder):
    """name -> what came of it, with seconds of the processor and mebibytes at the peak, or the status it died with."""
    for name, make in made.items():  # here: what making them takes would count as the runner's own
        (folder / name).write_bytes(make())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    command = [sys.executable, "-c", RUNNER, *(str(folder / name) for name in made)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert run.returncode == 0 and run.stderr == "", run.stderr
    found = {name: {} for name in made}
    for line in run.stdout.splitlines():
        record = json.loads(line)
        found[record["name"]].update(record)
    return found


def check(made, folder):
    for name, record in measured(made, folder).items():
        assert record["status"] == 0 and record["bytes"] < 3 * 2**20, record
        assert record["mebibytes"] < MEBIBYTES and record["seconds"] < SECONDS * SLOWER, record
        for answer, shape in zip(record["answers"], ([224, 224, 3], [32, 32, 3]), strict=True):
            assert answer == shape or answer.startswith(f"{name}: ") and "\n" not in answer, record


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="tells memory as Linux does")
def test_small_files_take_no_large_memory_or_time(tmp_path):
    check(QUICK, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="tells memory as Linux does")
def test_what_is_allowed_stays_within_the_bounds_too(tmp_path):
    check(ALLOWED, tmp_path)
