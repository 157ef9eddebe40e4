"""A run that is killed at any moment and started again ends with the same bits as one that was not."""

import functools
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import runs

from jaxcls.checkpoints import view
from jaxcls.logs.records import read_metrics

STEPS = 300
ARGUMENTS = [f"--config.duration={STEPS} steps", "--config.checkpoint.every=25 steps", "--config.eval.every=75 steps"]
SOURCES = {"memory": [], "stream": ["--config.data.device_memory=0"]}


def interrupted(workdir, arguments, kills, number=signal.SIGKILL):
    """Runs to the end, killed `kills` times, each at a random moment after a new checkpoint. Returns how many hit."""
    chance, hits = random.Random(str(workdir)), 0
    for _ in range(kills):
        before = newest(workdir)
        process = runs.start(workdir, *arguments, report=False)
        while process.poll() is None and newest(workdir) <= before:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.8))
        if process.poll() is None:
            hits += 1
            process.send_signal(number)
        process.wait(60)
    runs.finish(runs.start(workdir, *arguments, report=False), workdir)
    return hits


def newest(workdir):
    """The newest finished checkpoint's step; 0 where there is none."""
    return max((int(path.stem) for path in (Path(workdir) / "manifests").glob("*.json")), default=0)


def read_lines(workdir):
    path = Path(workdir) / "metrics.jsonl"
    return path.read_bytes().splitlines() if path.exists() else []


def assert_same_arrays(a, b):
    """Every array of the last checkpoints, to the bit."""
    left, right = runs.final_arrays(a), runs.final_arrays(b)
    assert left.keys() == right.keys()
    assert not [name for name in left if left[name].tobytes() != right[name].tobytes()]


def assert_same(a, b):
    """The arrays, and every recorded loss."""
    assert_same_arrays(a, b)
    losses = [[(x["step"], x["split"], x["loss"]) for x in read_metrics(w) if "loss" in x] for w in (a, b)]
    assert losses[0] == losses[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """`whole("memory")`: the workdir of a run that nothing stopped. Made once for all tests."""

    @functools.cache
    def run(source):
        workdir = tmp_path_factory.mktemp(source) / "whole"
        runs.finish(runs.start(workdir, *ARGUMENTS, *SOURCES[source], report=False), workdir)
        return workdir

    return run


@pytest.mark.parametrize("source", ["memory", pytest.param("stream", marks=pytest.mark.slow)])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, source, whole):
    assert interrupted(tmp_path / "killed", [*ARGUMENTS, *SOURCES[source]], kills=2) >= 1
    assert_same(whole(source), tmp_path / "killed")
    assert "going on from step" in (tmp_path / "killed.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_killed_many_times(tmp_path, source):
    arguments = [*ARGUMENTS, *SOURCES[source], "--config.duration=600 steps", "--config.checkpoint.every=5 steps"]
    runs.finish(runs.start(tmp_path / "whole", *arguments, report=False), tmp_path / "whole")
    assert interrupted(tmp_path / "killed", arguments, kills=8) >= 4
    assert_same(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
def test_streaming_equals_memory(tmp_path):
    """The same batches in the same order whichever way they come: equal up to the rounding of two compilations."""
    for name, extra in SOURCES.items():
        runs.finish(runs.start(tmp_path / name, "--config.duration=40 steps", *extra, report=False), tmp_path / name)
    memory, stream = runs.final_arrays(tmp_path / "memory"), runs.final_arrays(tmp_path / "stream")
    for name, value in memory.items():
        np.testing.assert_allclose(value, stream[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_sigterm_saves_and_the_same_command_goes_on(tmp_path, whole):
    stopped = tmp_path / "stopped"
    arguments = [*ARGUMENTS, f"--config.checkpoint.every={STEPS} steps", f"--config.eval.every={STEPS} steps"]
    process = runs.start(stopped, *arguments, report=False)
    while not read_lines(stopped):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    saved = view.list_steps(stopped)
    assert [entry.finished for entry in saved] == [True]
    assert 0 < saved[0].number < STEPS  # between two regular checkpoints
    runs.finish(runs.start(stopped, *arguments, report=False), stopped)
    assert_same_arrays(whole("memory"), stopped)  # the log has one line more, at the stop
