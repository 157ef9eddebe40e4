"""`jaxcls launch`: several processes of one machine."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import runs

from jaxcls.cli import command, launch
from jaxcls.errors import UserError


def begun(workdir, *arguments, words=("train", *runs.BASE), number="2"):
    environment = {**os.environ, "XLA_FLAGS": "", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "jaxcls", "launch", "-n", number, "--", *words, f"--workdir={workdir}", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env=environment, cwd=runs.ROOT, **pipes)


@pytest.mark.parametrize("processes, words, line", [
    (0, ["train"], "-n is the number of processes, from 1 on"), (2, [], "say what they run: jaxcls launch"),
    (2, ["trian"], "no verb 'trian'; did you mean 'train'"), (2, ["doctor"], "jaxcls doctor runs in one process"),
])  # fmt: skip
def test_what_cannot_be_launched_is_a_line(processes, words, line):
    with pytest.raises(UserError, match=line):
        launch.check(processes, words)


@pytest.mark.parametrize("verb", ["train", "eval"])
def test_verbs_of_several_processes_can_be_launched(verb):
    launch.check(2, [verb, "--config=lenet5_digits"])


def test_processes_are_started_with_their_numbers_and_gpus(monkeypatch):
    """The command of each, without starting any."""
    seen = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, env, **_: seen.append((command, env)))
    args = launch.argparse.Namespace(processes=2, gpus_each=4)
    for i in range(2):
        launch._start(i, args, ["train", "--config=x"], "127.0.0.1:5")
    for i, (started, environment) in enumerate(seen):
        own = ["--coordinator_address=127.0.0.1:5", "--num_processes=2", f"--process_id={i}"]
        assert started == [sys.executable, "-m", "jaxcls", "train", "--config=x", *own]
        assert environment["CUDA_VISIBLE_DEVICES"] == ("0,1,2,3", "4,5,6,7")[i]


def test_settings_are_those_of_the_launched_verb(monkeypatch):
    seen = []
    monkeypatch.setattr(launch, "_start", lambda i, args, words, address: seen.append(words) or Ended())
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    words = ["train", "--config=x", "--config.batch_size=8", "--workdir=w"]
    assert command.run("launch", ["-n", "2", "--", *words]) == 0
    assert seen == [words, words]


class Ended:
    """A process that is over."""

    stdout = ()

    def wait(self):
        return 0


@pytest.mark.slow
def test_two_processes_are_stopped_together_and_go_on(tmp_path):
    arguments = ["--config.duration=60 steps", "--config.checkpoint.every=10 steps"]
    process = begun(tmp_path / "w", *arguments, "--config.duration=100000 steps")
    deadline = time.monotonic() + 300
    while not list((tmp_path / "w" / "manifests").glob("*.json")):
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "stopped by SIGTERM" in text, text
    config = json.loads((tmp_path / "w" / "config.json").read_text())
    assert config["duration"] == "100000 steps"
    process = begun(tmp_path / "v", *arguments)
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    assert json.loads((tmp_path / "v" / "results.json").read_text())["test"]["count"] == 64


@pytest.mark.slow
def test_an_error_of_all_is_one_line_and_a_status(tmp_path):
    process = begun(tmp_path / "w", "--config.batch_size=7")
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 2 and "config.batch_size 7 can't be divided by 2" in text and "Traceback" not in text
