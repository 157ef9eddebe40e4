"""Ladders run on small made sets: resumed and never run twice, changed configs refused, failures told."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxcls.ablate import ladder, running
from jaxcls.ablate.running import Ended
from jaxcls.checkpoints import view
from jaxcls.errors import UserError
from jaxcls.training import loop, same_run
from jaxcls.training.signals import Stopped

pytestmark = pytest.mark.usefixtures("bare_end")

ROOT = Path(__file__).resolve().parents[2]
LADDERS = sorted((ROOT / "configs" / "ladders").glob("*.py"))
LADDER = """
from jaxcls.defaults import default_config

def get_ladder(arg=""):
    config, rungs = default_config(), []

    def rung(name, *against):
        rungs.append((name, config.copy_and_resolve_references(), *against))

    config.data.name = "synthetic/64x8x1x4"
    config.data.validation = 0.0
    config.duration = "4 steps"
    config.batch_size = 16
    config.model.name = "simple_cnn_16_32"
    config.model.fields = {{"channels": (2, 2), "hidden": 4}}
    config.schedule.peak = 0.05
    config.parallel.devices = 1
    rung("a")
    {}
    return rungs
"""
TWO = "config.loss.label_smoothing = 0.1; rung('+ b')"


def pretend(config, folder):
    """Leaves what a run does, as far as a ladder looks at it."""
    (folder / "config.json").write_text(json.dumps(same_run.to_json(config)))
    hits = 10 + config.seed + 20 * int("b" in folder.parent.name)
    figures = {"accuracy": hits / 64, "correct": hits, "count": 64, "loss": 1.0, "step": 4}
    (folder / "results.json").write_text(json.dumps({"test": figures}))


def train(*folders):
    """A `Here.run` that trains what these folders are for, and pretends the rest."""

    def run(config, folder):
        trained = f"{folder.parent.name}/{folder.name}" in folders
        (loop.run if trained else pretend)(config, folder)

    return run


class Here:
    """Runs in this process in place of new ones, and remembers which."""

    def __init__(self, run=pretend):
        self.ran, self.run = [], run

    def __call__(self, config, folder):
        self.ran.append(f"{folder.parent.name}/{folder.name}")
        try:
            self.run(config, folder)
        except UserError as error:
            return Ended(2, str(error), 2.0, 3.0)
        except Stopped as stopped:
            return Ended(stopped.status, str(stopped), 2.0, 3.0, signal.SIGINT)
        return Ended(0, "", 2.0, 3.0)


@pytest.fixture
def make(tmp_path):
    """Rungs from what follows the first one in a ladder file."""

    def rungs(body=TWO):
        path = tmp_path / "ladder.py"
        path.write_text(LADDER.format(body))
        return ladder.load(str(path))

    return rungs


def quiet(line):
    pass


def test_table_is_what_the_runs_have_left(make, tmp_path):
    rungs, here, workdir = make(), Here(train("b/seed-1")), tmp_path / "w"
    report = running.run(rungs, workdir, 2, launch=here, note=quiet)
    assert here.ran == ["a/seed-0", "b/seed-0", "a/seed-1", "b/seed-1"]
    accuracy = {}
    for name in here.ran:
        figures = json.loads((workdir / name / "results.json").read_text())["test"]
        accuracy[name] = figures["correct"] / figures["count"]
    a, b = report["rungs"]
    assert a["mean"] == pytest.approx((accuracy["a/seed-0"] + accuracy["a/seed-1"]) / 2)
    expected = sum(accuracy[f"b/seed-{i}"] - accuracy[f"a/seed-{i}"] for i in (0, 1)) / 2
    assert b["difference"] == pytest.approx(expected)
    assert b["changes"] == {"loss.label_smoothing": [0.0, 0.1]}
    # 3x3 convolutions of 1 -> 2 features at 8x8 and 2 -> 2 at 4x4, dense 8 -> 4 -> 4
    assert (a["pictures"], a["multiply_adds"]) == (64, 9 * 2 * 64 + 9 * 4 * 16 + 8 * 4 + 4 * 4)
    assert (a["seconds"], a["cpu_seconds"]) == (2, 3)
    stored = json.loads((workdir / "b" / "seed-1" / "config.json").read_text())
    assert (stored["seed"], stored["loss"]["label_smoothing"]) == (1, 0.1)


def test_a_stopped_ladder_goes_on_and_runs_nothing_twice(make, tmp_path):
    def stop(config, folder):
        if folder.parent.name == "b":
            raise Stopped("stopped", 130)
        pretend(config, folder)

    rungs, first, second = make(), Here(stop), Here()
    with pytest.raises(Stopped) as stopped:
        running.run(rungs, tmp_path / "w", 2, launch=first, note=quiet)
    assert stopped.value.status == 130
    assert "1 of 2" in (tmp_path / "w" / "ladder.md").read_text()
    report = running.run(rungs, tmp_path / "w", 2, launch=second, note=quiet)
    assert (first.ran, second.ran) == (["a/seed-0", "b/seed-0"], ["b/seed-0", "a/seed-1", "b/seed-1"])
    assert report["rungs"][1]["runs"][0]["seconds"] == 4  # of both attempts
    third = Here()
    assert running.run(rungs, tmp_path / "w", 2, launch=third, note=quiet) == report
    assert third.ran == []


def test_more_seeds_run_only_what_is_new(make, tmp_path):
    rungs, here = make(), Here()
    running.run(rungs, tmp_path / "w", 1, launch=here, note=quiet)
    running.run(rungs, tmp_path / "w", 2, launch=here, note=quiet)
    assert here.ran == ["a/seed-0", "b/seed-0", "a/seed-1", "b/seed-1"]


def test_a_changed_config_is_refused_by_its_key_before_anything_runs(make, tmp_path):
    here = Here()
    running.run(make(), tmp_path / "w", 1, launch=here, note=quiet)
    changed = make("config.loss.label_smoothing = 0.2; rung('+ b')")
    with pytest.raises(UserError, match="config.loss.label_smoothing is 0.1 there and 0.2 now") as raised:
        running.run(changed, tmp_path / "w", 2, launch=here, note=quiet)
    assert "\n" not in str(raised.value)
    assert len(here.ran) == 2


def test_a_rung_that_diverges_is_marked_and_the_others_go_on(make, tmp_path):
    body = "config.schedule.peak = 1e30; rung('+ far too fast'); config.schedule.peak = 0.06; rung('+ c', 'a')"
    rungs, here = make(body), Here(train("far-too-fast/seed-0"))
    report = running.run(rungs, tmp_path / "w", 1, launch=here, note=quiet)
    assert here.ran == ["a/seed-0", "far-too-fast/seed-0", "c/seed-0"]
    assert [row["verdict"] for row in report["rungs"]] == ["", "failed", ""]
    assert report["rungs"][2]["difference"] is not None
    page = (tmp_path / "w" / "ladder.md").read_text()
    assert "- + far too fast, seed 0: " in page and "is not finite at step" in page
    again = Here()  # a failed run is tried again, and only that
    running.run(rungs, tmp_path / "w", 1, launch=again, note=quiet)
    assert again.ran == ["far-too-fast/seed-0"]


def test_a_mistake_in_the_last_rung_is_found_before_the_first_runs(make, tmp_path):
    body = "config.data.augment = ('flipp',); rung('+ b'); config.batch_size = 32; rung('+ c')"
    here = Here()
    with pytest.raises(UserError, match=r"[+] b and 1 more: .*flipp") as raised:
        running.run(make(body), tmp_path / "w", 1, launch=here, note=quiet)
    assert "\n" not in str(raised.value)
    assert here.ran == [] and not (tmp_path / "w").exists()


def test_a_teacher_is_trained_by_the_ladder_and_asked_by_the_student(make, tmp_path):
    body = (
        "config.model.fields = {'channels': (2, 4), 'hidden': 8}; rung('teacher', '');"
        "config.model.fields = {'channels': (2, 2), 'hidden': 4}; config.distill.teacher = 'rung:teacher'; rung('+ b')"
    )
    report = running.run(make(body), tmp_path / "w", 1, launch=Here(train("teacher/seed-0", "b/seed-0")), note=quiet)
    assert [row["against"] for row in report["rungs"]] == [None, None, "a"]
    assert report["rungs"][2]["mean"] is not None
    meta = view.read_meta(view.find_step(tmp_path / "w" / "b" / "seed-0"))
    assert meta.config["distill"]["teacher"] == str(tmp_path / "w" / "teacher" / "seed-0")


def test_ctrl_c_reaches_the_run_and_the_same_command_goes_on(make, tmp_path):
    """The command as a user starts it: a process of its own for every run."""
    make("pass")
    path, workdir = tmp_path / "ladder.py", tmp_path / "w"
    command = [
        sys.executable,
        "-m",
        "jaxcls",
        "ablate",
        str(path),
        "--seeds=1",
        f"--workdir={workdir}",
        "--config.checkpoint.every=50 steps",
    ]
    options = {"stdout": subprocess.PIPE, "text": True, "cwd": tmp_path}
    process = subprocess.Popen([*command, "--config.duration=1000000 steps"], **options)
    deadline = time.monotonic() + 120
    while not list((workdir / "a" / "seed-0").glob("manifests/*.json")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped within a, seed 0. The same command goes on" in output
    assert "the state is saved" in (workdir / "a" / "seed-0" / running.OUTPUT).read_text()
    steps = [step.number for step in view.list_steps(workdir / "a" / "seed-0") if step.finished]
    refused = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert refused.returncode == 2
    assert "config.duration is '1000000 steps' there and '4 steps' now" in refused.stderr
    assert max(steps) > 0


def test_a_process_that_ends_badly_is_told_by_its_last_line(make, tmp_path, monkeypatch):
    rungs = make("pass")
    config, folder = ladder.of_seed(rungs[0], rungs, 0, tmp_path / "w")
    folder.mkdir(parents=True)
    config.data.name = "folder/nowhere"
    ended = running.in_process(config, folder)
    assert ended.status == 2
    assert "nowhere" in ended.line and not ended.line.startswith("error")
    assert ended.seconds > 0 and ended.cpu_seconds > 0
    assert json.loads((folder / "config.json").read_text()) == same_run.to_json(config)


@pytest.mark.parametrize("path", LADDERS, ids=lambda path: path.stem)
def test_last_rung_of_a_ladder_has_all_its_tricks_and_can_work(path, tmp_path):
    rungs = ladder.load(f"{path}:tiny")
    costs = running.check(rungs[-1:], rungs, tmp_path)
    assert costs[rungs[-1].name]["pictures"] > 0 and costs[rungs[-1].name]["multiply_adds"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("path", LADDERS, ids=lambda path: path.stem)
def test_tiny_ladder_runs_to_its_end(path, tmp_path):
    command = [sys.executable, "-m", "jaxcls", "ablate", str(path), "--tiny", "--seeds=1"]
    subprocess.run([*command, f"--workdir={tmp_path / 'w'}"], check=True, cwd=tmp_path)
    report = json.loads((tmp_path / "w" / "ladder.json").read_text())
    assert all(run["state"] == "finished" for row in report["rungs"] for run in row["runs"])
