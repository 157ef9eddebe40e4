"""One training run in a workdir at a time, and a workdir that goes away ends the run: locks, and runs in processes."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import runs

from jaxcls.errors import UserError
from jaxcls.training import lock

LONG = ["--config.duration=100000 steps", "--config.eval.every=50000 steps", "--config.checkpoint.every=5 steps"]


def taken(folder, note=lambda _: None):
    one = lock.Lock(folder)
    one.take(note)
    return one


def change(folder, **values):
    path = folder / lock.FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_the_second_is_refused_and_told_who_until_the_first_ends(tmp_path):
    assert lock.in_use(tmp_path / "none") is None
    first = taken(tmp_path)
    with pytest.raises(UserError) as refused:
        taken(tmp_path)
    line = str(refused.value)
    assert line == lock.in_use(tmp_path)
    assert "\n" not in line and f"process {os.getpid()} on " in line and "--workdir" in line
    assert str(tmp_path / lock.FILE) in line
    first.check()
    first.release()
    assert not any(tmp_path.iterdir()) and lock.in_use(tmp_path) is None
    taken(tmp_path).release()


def dead_process(*, reaped):
    """The pid of a process that has ended; where its parent hasn't waited for it, it is still in the table."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    return child.pid, (child.wait() if reaped else child)


@pytest.mark.parametrize("how", ["gone", "not waited for", "its number is another process's"])
def test_what_a_killed_run_left_is_taken_over_at_once_with_a_line(tmp_path, how):
    killed, notes = taken(tmp_path), []
    pid, _kept = dead_process(reaped=how == "gone")
    change(tmp_path, **({"started": "1"} if how.startswith("its") else {"pid": pid}))
    assert lock.in_use(tmp_path) is None
    taken(tmp_path, notes.append)
    assert len(notes) == 1 and "taken over" in notes[0]
    with pytest.raises(UserError, match="another run has taken over"):
        killed.check()
    killed.release()
    assert lock.in_use(tmp_path)  # the other's is left


@pytest.mark.parametrize("content", [None, "", "[]", "\0" * 300, '{"pid": -1}', "[" * 10_000])
def test_of_another_machine_only_the_sign_of_life_counts(tmp_path, content):
    """Elsewhere a process number means nothing, even where the host's name is the same; nor does a damaged file."""
    taken(tmp_path)
    if content is None:
        change(tmp_path, pid=dead_process(reaped=True)[0], machine="another boot of a host of that name")
    else:
        (tmp_path / lock.FILE).write_text(content)
    with pytest.raises(UserError, match="in use"):
        taken(tmp_path)
    past = time.time() - lock.GONE - 5
    os.utime(tmp_path / lock.FILE, (past, past))
    assert lock.in_use(tmp_path) is None
    taken(tmp_path)


def test_a_run_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.02)
    first, path = taken(tmp_path), tmp_path / lock.FILE
    os.utime(path, (1, 1))
    deadline = time.monotonic() + 5
    while path.stat().st_mtime < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert time.time() - path.stat().st_mtime < 5
    first.release()


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("links", [True, False])
def test_of_many_at_once_one_gets_it(tmp_path, monkeypatch, stale, links):
    if not links:

        def link(*_):
            raise OSError(lock.NO_LINKS[0], "not permitted")

        monkeypatch.setattr(os, "link", link)
    for i in range(4):
        folder = tmp_path / str(i)
        if stale:
            taken(folder)
            change(folder, started="1")
        got, refused, start = [], [], threading.Barrier(8)

        def try_it(folder=folder, got=got, refused=refused, start=start):
            start.wait()
            try:
                got.append(taken(folder))
            except UserError as error:
                refused.append(error)

        threads = [threading.Thread(target=try_it) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(got), len(refused)) == (1, 7)
        assert [path.name for path in folder.iterdir()] == [lock.FILE]


@pytest.mark.parametrize("how", ["deleted", "renamed", "replaced", "emptied", "its records deleted", "a file instead"])
def test_a_workdir_that_goes_away_is_noticed(tmp_path, how):
    folder = tmp_path / "run"
    held = taken(folder)
    held.check()
    for name in lock.KEPT:
        (folder / name).mkdir()
    held.check()
    if how in ("deleted", "replaced", "a file instead"):
        shutil.rmtree(folder)
    if how == "renamed":
        folder.rename(tmp_path / "elsewhere")
    if how == "replaced":
        folder.mkdir()
    if how == "a file instead":
        folder.touch()
    if how in ("emptied", "its records deleted"):
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif how == "emptied":
                path.unlink()
    with pytest.raises(UserError, match="was deleted, moved or emptied") as error:
        held.check()
    assert "\n" not in str(error.value)
    held.release()


def test_a_folder_that_can_not_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="can't be written"):
        taken(tmp_path / "file" / "run")


def wait_for(condition, process, log):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, Path(log).read_text()
        time.sleep(0.02)


@pytest.mark.slow
def test_runs_in_one_folder_and_a_folder_that_is_moved(tmp_path):
    """Real processes: the second is refused, the first lives on until its folder is moved away, and then fails."""
    workdir, log = tmp_path / "run", tmp_path / "run.log"
    first = runs.start(workdir, *LONG, report=False)
    try:
        wait_for(lambda: any(workdir.glob("manifests/*.json")), first, log)
        records = (workdir / "metrics.jsonl").read_bytes()
        link = tmp_path / "link"
        link.symlink_to(workdir)
        second = runs.start(link, *LONG, report=False)
        assert second.wait(60) == 2
        assert (tmp_path / "link.log").read_text().count("\n") == 1
        assert f"process {first.pid} on " in (tmp_path / "link.log").read_text()
        assert first.poll() is None and (workdir / "metrics.jsonl").read_bytes().startswith(records)
        workdir.rename(tmp_path / "moved")
        assert first.wait(60) == 2, log.read_text()
    finally:
        first.kill()
    assert log.read_text().splitlines()[-1].startswith("error: ") and "moved" in log.read_text()
    assert not workdir.exists()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.5])
def test_a_folder_that_is_deleted_at_any_moment_fails(tmp_path, seconds):
    workdir, log = tmp_path / "run", tmp_path / "run.log"
    process = runs.start(workdir, *LONG, report=False)
    try:
        wait_for(lambda: (workdir / lock.FILE).exists(), process, log)
        time.sleep(seconds)
        shutil.rmtree(workdir, ignore_errors=True)
        assert process.wait(60) == 2, log.read_text()
    finally:
        process.kill()
    assert log.read_text().splitlines()[-1].startswith("error: ")
    assert not (workdir / "results.json").exists()
