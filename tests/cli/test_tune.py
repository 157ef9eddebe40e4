"""`jaxcls tune`: mistakes are one line before anything is written; a search is begun, goes on, is listed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fake_trials import Fake

from jaxcls.checkpoints import view
from jaxcls.cli import command
from jaxcls.training.lock import Lock
from jaxcls.training.signals import Stopped
from jaxcls.tune import choosing, processes, running, workers

CONFIG = """
from jaxcls.defaults import default_config

def get_config(arg=""):
    config = default_config()
    config.data.name, config.data.validation = "synthetic/{pictures}x8x1x4", 0.25
    config.duration, config.batch_size, config.parallel.devices = "4 epochs", 16, 1
    config.model.name, config.model.fields = "simple_cnn_16_32", {{"channels": (2, 2), "hidden": 4}}
    config.schedule.peak, config.eval.every, config.checkpoint.every = 0.05, "1 epoch", "1 epoch"
    return config
"""
PEAK = "schedule.peak=log(1e-3,1)"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a config, in which the command is run; workers are this process, with trials of numbers."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.py").write_text(CONFIG.format(pictures=128))

    def look_after(folder, number, note):
        workers.work(folder, note, Fake())
        return 0

    monkeypatch.setattr(processes, "look_after", look_after)
    return tmp_path


def tune(capsys, *arguments):
    """(status, output, error) of a command line."""
    status = command.main(["tune", *arguments])
    return status, *capsys.readouterr()


def test_a_search_is_begun_goes_on_and_is_listed(here, capsys):
    status, out, error = tune(capsys, "small.py", f"--space={PEAK}", "--trials=3", "--workdir=s", "--sampler=random")
    assert (status, error) == (0, "")
    assert out.startswith("s: 3 trials of 4 epochs, random, for accuracy (max) on validation\n    schedule.peak=log(")
    assert len(re.findall(r"^trial \d: accuracy [\d.]+ %, 4 epochs", out, re.MULTILINE)) == 3
    assert "3 trials: 3 complete; 12 epochs\nbest on validation: trial " in out
    assert "written to s/search.html, .md, .csv and .json" in out
    assert {path.suffix for path in (here / "s").glob("search.*")} == {".html", ".md", ".csv", ".json"}
    status, out, _ = tune(capsys, "s", "--add=2")
    assert status == 0 and "5 trials: 5 complete" in out
    same = ("small.py", f"--space={PEAK}", "--trials=6", "--workdir=s", "--sampler=random")
    assert "6 trials: 6 complete" in tune(capsys, *same)[1]
    status, out, _ = tune(capsys, "s", "--list")
    assert len(out.splitlines()) == 6 and out.startswith("trial 0: complete, accuracy ")
    assert not (here / "s" / "running.json").exists()


def test_the_space_alone_is_listed_and_nothing_is_written(here, capsys):
    status, out, _ = tune(capsys, "small.py", "--space=batch_size=pow2(8,64)", "--sampler=grid", "--list")
    assert status == 0
    assert (
        out == "tune-small: 4 trials of 4 epochs, grid, for accuracy (max) on validation\n    batch_size=pow2(8, 64)\n"
    )
    assert sorted(path.name for path in here.iterdir()) == ["small.py"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere", f"--space={PEAK}"], "nowhere"),
        (["small.py"], 'small.py holds no search; to begin one, give CONFIG --space "schedule.peak=log(1e-3,1)"'),
        (["small.py", f"--space={PEAK}", "--add=3"], "--add and --join take the folder of one"),
        (["small.py", "--space=schedule.paek=log(1e-3,1)"], "did you mean"),
        (["small.py", "--space=schedule.peak=log(1,1e-3)"], "schedule.peak=log("),
        (["small.py", "--space=optim.name=choice(sgd,lionn)"], "with lionn: config.optim.name is 'lionn'; did you"),
        (["small.py", "--space=batch_size=pow2(8,128)"], "with 128: config.batch_size 128 is more than the 96"),
        (
            ["small.py", f"--space={PEAK}", "--objective=acuracy"],
            "--objective: this run has no 'acuracy'; did you mean",
        ),
        (["small.py", f"--space={PEAK}", "--objective=size"], "the first one is a figure of validation"),
        (["small.py", f"--space={PEAK}", "--budget=3 epochs"], "--budget=3 epochs is below one trial, which has 4"),
        (["small.py", f"--space={PEAK}", "--budget=much"], "write for example '300 epochs' or '40 trials'"),
        (["small.py", f"--space={PEAK}", "--budget=9 epochs", "--trials=3"], "are two budgets"),
        (["small.py", f"--space={PEAK}", "--trials=0"], "'0' is no positive whole number"),
        (["small.py", f"--space={PEAK}", "--sampler=grid"], "--points"),
        (["small.py", f"--space={PEAK}", "--config.data.validation=0"], "set config.data.validation=0.1"),
        (["small.py", f"--space={PEAK}", "--config.batch_size=1000"], "more than the 96 training examples"),
        (["small.py", f"--space={PEAK}", "--pruner=halving", "--objective=accuracy,size"], "goes with one objective"),
        (["small.py", f"--space={PEAK}", "--pruner=median", "--config.eval.every=4 epochs"], "at their end alone"),
        (["small.py", f"--space={PEAK}", "--pruner=halving", "--first-rung=0.5"], "first evaluation (1 epochs)"),
        (["small.py", f"--space={PEAK}", "--pruner=halving", "--first-rung=4"], "the end of a trial (4)"),
        (["small.py", f"--space={PEAK}", "--pruner=halving", "--eta=1"], "it is at least 2"),
        (["small.py", f"--space={PEAK}", "--storage=sqlite:////no/such/folder/x.db"], "/no/such/folder/x.db"),
        (["small.py", f"--space={PEAK}", "--workdir=small.py/x"], "small.py"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(here, capsys, arguments, message):
    status, _, error = tune(capsys, *arguments)
    assert status == 2 and error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert sorted(path.name for path in here.iterdir()) in (["small.py"], ["runs", "small.py"])
    assert not list(here.rglob("*.json"))


def test_another_search_in_the_folder_is_one_line_living_or_not(here, capsys):
    tune(capsys, "small.py", f"--space={PEAK}", "--trials=1", "--workdir=s")
    before = (here / "s" / "plan.json").read_bytes(), (here / "s" / "budget.json").read_bytes()
    other = ("small.py", "--space=schedule.peak=log(1e-4,1)", "--trials=9", "--workdir=s")
    status, _, error = tune(capsys, *other)
    assert status == 2 and error.count("\n") == 1 and "s has another search: its space is " in error
    held = Lock(here / "s")
    held.take(print)
    for arguments in (("s",), ("small.py", f"--space={PEAK}", "--trials=9", "--workdir=s"), other):
        status, _, error = tune(capsys, *arguments)
        assert status == 2 and error.count("\n") == 1
        assert "a search is under way in s" in error and "--join" in error
    assert tune(capsys, "s", "--join")[0] == 0  # that is how more workers are added
    held.release()
    for arguments, flag in ((["--space=x"], "space"), (["--seed=1"], "seed"), (["--config.seed=1"], "config.seed")):
        status, _, error = tune(capsys, "s", *arguments)
        assert status == 2 and f"leave off --{flag}." in error
    assert "several budgets" in tune(capsys, "s", "--add=1", "--trials=5")[2]
    assert before == ((here / "s" / "plan.json").read_bytes(), (here / "s" / "budget.json").read_bytes())


def test_after_a_signal_the_command_says_how_to_go_on(here, capsys, monkeypatch):
    def stopped(folder, number, note):
        raise Stopped("stopped", 130)

    done = processes.look_after
    monkeypatch.setattr(processes, "look_after", stopped)
    status, out, _ = tune(capsys, "small.py", f"--space={PEAK}", "--trials=2", "--workdir=s")
    assert status == 130 and out.endswith("stopped; it goes on with: jaxcls tune s\n")
    assert not (here / "s" / "running.json").exists()
    monkeypatch.setattr(processes, "look_after", done)
    assert "2 trials: 2 complete" in tune(capsys, "s")[1]


def test_a_budget_of_epochs_and_repetitions(here, capsys, monkeypatch):
    monkeypatch.setattr(running, "look_at_test", lambda config, folder: (
        (folder / "results.json").write_text(json.dumps({"test": {"accuracy": config.seed / 10}}))))  # fmt: skip
    arguments = ("small.py", f"--space={PEAK}", "--budget=15 epochs", "--workdir=s", "--repeat=1", "--seeds=3")
    status, out, _ = tune(capsys, *arguments)
    assert status == 0 and out.startswith("s: 15 epochs in trials of 4, tpe,")
    assert "3 trials: 3 complete; 12 epochs" in out
    assert "test accuracy 10.00 % (sd 10.00, 3 seeds, 95 % interval 0.00 to 34.84)" in out


def start(folder, *arguments):
    log = open(folder / "log.txt", "a")  # noqa: SIM115  the process keeps it
    command_line = [sys.executable, "-m", "jaxcls", "tune", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command_line, stdout=log, stderr=subprocess.STDOUT, cwd=folder, env=environment)


def pids(parent):
    """The workers that a process has started."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def wait_for(happens, seconds=240):
    deadline = time.monotonic() + seconds
    while not (found := happens()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.mark.slow
def test_sixteen_trials_in_two_processes_killed_twice(tmp_path):
    """Every trial is accounted for: each is complete, its figures are those of its own run, no epoch counts twice."""
    (tmp_path / "small.py").write_text(CONFIG.format(pictures=128))
    new = ("small.py", f"--space={PEAK}; optim.momentum=linear(0.5,0.95)", "--trials=16", "--workdir=s", "--workers=2")
    search = start(tmp_path, *new, "--repeat=1", "--seeds=2")
    ended = lambda: len(re.findall(r"^trial \d+: accuracy", (tmp_path / "log.txt").read_text(), re.MULTILINE))  # noqa: E731
    trains = lambda: list((tmp_path / "s").glob("trial-*/running.json"))  # noqa: E731
    wait_for(lambda: ended() >= 3 and len(trains()) == 2)
    os.kill(pids(search.pid)[0], signal.SIGKILL)  # one worker: another takes its place
    wait_for(lambda: "another one takes its place" in (tmp_path / "log.txt").read_text())
    wait_for(lambda: ended() >= 7 and len(trains()) == 2)
    for pid in [search.pid, *pids(search.pid)]:  # all of it: the same search goes on
        os.kill(pid, signal.SIGKILL)
    search.wait()
    assert start(tmp_path, "s", "--workers=2").wait(600) == 0, (tmp_path / "log.txt").read_text()
    record = json.loads((tmp_path / "s" / "search.json").read_text())
    assert record["state"] == "done" and [row["number"] for row in record["trials"]] == [*range(16)]
    assert {row["state"] for row in record["trials"]} == {"complete"}
    assert len({tuple(row["params"].values()) for row in record["trials"]}) == 16
    assert record["budget"]["spent_epochs"] == 64
    for row in record["trials"]:
        folder = tmp_path / "s" / row["folder"]
        stored = json.loads((folder / "config.json").read_text())
        assert stored["schedule"]["peak"] == row["params"]["schedule.peak"]
        assert [step for step, *_ in row["history"]] == [6, 12, 18, 24] == [s for s, _ in running.past(folder, [])]
        assert (folder / "results.json").exists() == (row["number"] == record["best"][0])
    assert [(x["trial"], x["seeds"]) for x in record["repeats"]] == [(record["best"][0], [0, 1])]
    assert not list((tmp_path / "s" / "claims").glob("*/running.json"))


@pytest.mark.slow
def test_one_worker_ends_with_the_same_bits_after_a_kill(tmp_path):
    """Draws, figures and weights; one search ran through, the other was killed within its second and fourth trial."""
    (tmp_path / "small.py").write_text(CONFIG.format(pictures=128))
    how = (f"--space={PEAK}; optim.weight_decay=log(1e-5,1e-2)", "--trials=5", "--pruner=halving", "--eta=2")
    assert start(tmp_path, "small.py", *how, "--workdir=a").wait(300) == 0
    search = start(tmp_path, "small.py", *how, "--workdir=b")
    for number in (1, 3):
        wait_for(lambda number=number: list((tmp_path / "b" / f"trial-{number}").glob("manifests/*.json")))
        for pid in [search.pid, *pids(search.pid)]:
            os.kill(pid, signal.SIGKILL)
        search.wait()
        search = start(tmp_path, "b")
    assert search.wait(300) == 0, (tmp_path / "log.txt").read_text()
    found = [choosing.opened(tmp_path / name).records for name in "ab"]
    for one, other in zip(*found, strict=True):
        assert (one.number, one.state, one.params, one.values) == (
            other.number,
            other.state,
            other.params,
            other.values,
        )
        folders = [tmp_path / name / f"trial-{one.number}" for name in "ab"]
        x, y = (view.read_arrays(view.find_step(folder)) for folder in folders)
        assert x.keys() == y.keys() and all(np.array_equal(x[name], y[name]) for name in x)
