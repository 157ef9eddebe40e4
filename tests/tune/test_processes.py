"""Processes of workers, of a line of Python each: replaced, ended together, handed signals on to."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jaxcls.errors import UserError
from jaxcls.training.signals import Stopped
from jaxcls.tune import processes


def quiet(line):
    pass


def scripts(monkeypatch, *codes):
    """In place of workers: processes of these codes, one after the other, the last one for all that follow."""
    started = []

    def start(folder, index, number):
        code = codes[min(len(started), len(codes) - 1)]
        started.append(subprocess.Popen([sys.executable, "-S", "-E", "-c", code], process_group=0))
        return started[-1]

    monkeypatch.setattr(processes, "start", start)
    return started


KILLED = "import os; os.kill(os.getpid(), 9)"


def test_a_lost_worker_is_replaced(tmp_path, monkeypatch):
    lines, started = [], scripts(monkeypatch, KILLED, "", KILLED, "")
    assert processes.look_after(tmp_path, 2, lines.append) == 0
    assert [process.returncode for process in started] == [-9, 0, -9, 0]
    assert [line.split("; ")[1] for line in lines] == 2 * ["another one takes its place"]
    assert "was killed by signal 9" in lines[0]


def test_workers_that_are_lost_without_end_end_the_search(tmp_path, monkeypatch):
    started = scripts(monkeypatch, "import sys; sys.exit(1)")
    with pytest.raises(UserError, match="6 workers in a row were lost, the last one ended with status 1"):
        processes.look_after(tmp_path, 1, quiet)
    assert len(started) == processes.DEAD + 1
    ended = iter(range(100))
    monkeypatch.setattr(processes, "_ended", lambda folder: next(ended) // 2)  # with trials that end between them
    scripts(monkeypatch, *["import sys; sys.exit(1)"] * 12, "")
    assert processes.look_after(tmp_path, 1, quiet) == 0


def test_an_error_of_one_worker_ends_all(tmp_path, monkeypatch):
    started = scripts(monkeypatch, "import time; time.sleep(60)", "import sys; sys.exit(2)")
    assert processes.look_after(tmp_path, 2, quiet) == 2
    assert [process.returncode for process in started] == [-signal.SIGTERM, 2]


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_signals_are_handed_on(tmp_path, monkeypatch, number, status):
    saves = "import signal, sys, time; signal.signal({}, lambda *_: sys.exit(7)); print(flush=True); time.sleep(60)"
    started = scripts(monkeypatch, saves.format(int(number)))
    timer = threading.Timer(1.0, os.kill, (os.getpid(), number))
    timer.start()
    with pytest.raises(Stopped) as stopped:
        processes.look_after(tmp_path, 2, quiet)
    assert stopped.value.status == status
    assert [process.returncode for process in started] == [7, 7]


CHILD = """
import os, time
from jaxcls.tune import processes
processes.settle_in(1, 2)
print(len(os.sched_getaffinity(0)), os.getpid(), flush=True)
time.sleep(60)
"""
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
def test_a_worker_has_its_share_of_the_cores_and_ends_with_its_parent():
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True)
    cores, child = map(int, parent.stdout.readline().split())
    every = len(os.sched_getaffinity(0))
    assert cores == (every // 2 if every > 1 else 1)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{child}/stat").exists() and Path(f"/proc/{child}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.1)
