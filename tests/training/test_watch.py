"""Processes that watch each other (training/watch.py): real ones, which compute nothing and so need no JAX."""

import signal
import socket
import subprocess
import sys
import time

import pytest

PROGRAM = """
import sys, time
from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError
from jaxcls.training import watch

address, number, index, timeout, silence, workdir, what = sys.argv[1:]
watch.SILENCE, watch.BEAT, watch.MOMENT = float(silence), 0.1, 0.1

def main(argv):
    watch.start(address, int(number), int(index), float(timeout))
    with watch.of_run(workdir, lambda: print("released", flush=True)):
        print("together", flush=True)
        if what == "fail":
            raise UserError("the disk is full")
        if what == "bug":
            raise RuntimeError("INTERNAL: a bug")
        if what == "gloo":
            time.sleep(1)
            raise RuntimeError("Gloo: Connection closed by peer")
        time.sleep(60 if what == "wait" else 0.0)

sys.exit(entry_point(main)([]))
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def launch(tmp_path):
    """`launch("wait", "wait")`: a process for each word, None for one that never comes; `launch.one` starts one."""
    started = []

    def one(address, number, index, word, timeout=20, silence=20):
        arguments = map(str, (address, number, index, timeout, silence, tmp_path, word))
        command = [sys.executable, "-c", PROGRAM, *arguments]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    def run(*words, together=True, **options):
        address = f"127.0.0.1:{free_port()}"
        processes = [one(address, len(words), i, word, **options) for i, word in enumerate(words) if word]
        for process in processes if together else ():
            assert process.stdout.readline() == "together\n"
        return processes

    run.one = one
    yield run
    for process in started:
        process.kill()
        process.communicate()


def ended(process, seconds=15, released=None):
    """(status, lines on stderr) of a process that ends of itself."""
    output, errors = process.communicate(timeout=seconds)
    assert released is None or ("released" in output) == released
    return process.returncode, [line for line in errors.splitlines() if line]


@pytest.mark.parametrize("killed", [0, 2])
def test_a_killed_one_is_named_by_all_others(launch, tmp_path, killed):
    for step, whole in ((20, True), (40, True), (60, False)):  # of 60 there is a manifest and no checkpoint
        (tmp_path / "manifests").mkdir(exist_ok=True)
        (tmp_path / f"manifests/{step}.json").touch()
        if whole:
            (tmp_path / f"checkpoints/{step}").mkdir(parents=True)
    processes = launch("wait", "wait", "wait")
    began = time.monotonic()
    processes.pop(killed).send_signal(signal.SIGKILL)
    for process in processes:
        status, lines = ended(process, released=True)
        assert status == 1
        assert len(lines) == 1
        assert lines[0].startswith(f"error: process {killed} of 3 is lost")
        assert lines[0].endswith("goes on from step 40.")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("stopped", [0, 1])
def test_a_silent_one_is_lost(launch, stopped):
    processes = launch("wait", "wait", silence=1.5)
    processes[stopped].send_signal(signal.SIGSTOP)
    status, [line] = ended(processes[1 - stopped])
    assert status == 1
    assert f"process {stopped} of 2 is lost (no sign of life" in line and "begins again" in line


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_of_one_ends_the_others_with_its_name(launch, failing):
    words = ["wait"] * 3
    words[failing] = "fail"
    processes = launch(*words)
    assert ended(processes[failing]) == (2, ["error: the disk is full"])
    for process in processes[:failing] + processes[failing + 1 :]:
        status, [line] = ended(process)
        assert status == 1 and f"process {failing} of 3 has ended by an error" in line


def test_the_same_error_in_all_is_told_by_all(launch):
    for process in launch("fail", "fail", "fail"):
        assert ended(process) == (2, ["error: the disk is full"])


def test_a_bug_keeps_its_traceback(launch):
    bug, other = launch("bug", "wait")
    status, lines = ended(bug)
    assert status == 1 and "RuntimeError: INTERNAL: a bug" in lines
    assert ended(other)[0] == 1


def test_what_follows_from_a_lost_process_is_not_told_as_an_error(launch):
    """Gloo's exception comes a moment after the connection ended, or a moment before it is noticed."""
    gloo, killed = launch("gloo", "wait")
    time.sleep(1.2)
    killed.kill()
    status, lines = ended(gloo)
    assert status == 1 and len(lines) == 1 and "process 1 of 2 is lost" in lines[0]


def test_whoever_is_done_is_not_lost(launch):
    assert [ended(process) for process in launch("done", "done", "done")] == [(0, [])] * 3
    first, second = launch("wait", "done")  # process 0 writes the report
    assert ended(second) == (0, [])
    with pytest.raises(subprocess.TimeoutExpired):
        first.wait(0.5)


@pytest.mark.parametrize("words", [("wait", None, None), (None, "wait", "wait")])
def test_one_that_never_comes_is_named(launch, words):
    for process in launch(*words, timeout=2, together=False):
        status, [line] = ended(process)
        missing = ", ".join(str(i) for i, word in enumerate(words) if word is None)
        assert status == 2
        assert f"process {missing} of 3 did not come within 2 s" in line


def test_one_that_dies_before_all_have_come_may_come_again(launch):
    address = f"127.0.0.1:{free_port()}"
    early = [launch.one(address, 3, i, "done") for i in (0, 1)]
    reach(address).close()  # process 0 is there
    time.sleep(0.5)
    early[1].kill()
    early[1].wait()
    for process in [early[0], *(launch.one(address, 3, i, "done") for i in (1, 2))]:
        assert ended(process) == (0, [])


def test_strangers_and_wrong_numbers_change_nothing(launch):
    """A browser, one who says nothing, a number that is taken, another launch: the right ones come together."""
    address = f"127.0.0.1:{free_port()}"
    processes = [launch.one(address, 3, i, "done") for i in (0, 1)]
    strangers = [reach(address) for _ in range(3)]
    for stranger, text in zip(strangers, (b"GET / HTTP/1.1\r\n\r\n", b"x" * 5000, b""), strict=True):
        stranger.sendall(text)
    time.sleep(0.5)
    for number, index, reason in (
        (3, 1, "there is a process with --process_id=1 already"),
        (4, 3, "--num_processes=3"),
    ):
        status, [line] = ended(launch.one(address, number, index, "done"))
        assert status == 2 and reason in line
    for process in [*processes, launch.one(address, 3, 2, "done")]:
        assert ended(process) == (0, [])
    for stranger in strangers:
        stranger.close()


def reach(address):
    """A connection to process 0, once it listens."""
    host, port = address.split(":")
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection((host, int(port)))
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1:99999", "host.invalid:4000"])
def test_an_address_that_can_not_be_one_is_refused(launch, address):
    status, [line] = ended(launch.one(address, 2, 1, "done"))
    assert status == 2 and line.startswith(f"error: --coordinator_address={address}")


def test_a_port_that_is_taken_is_one_line(launch):
    with socket.create_server(("", 0)) as server:
        status, [line] = ended(launch.one(f"127.0.0.1:{server.getsockname()[1]}", 2, 0, "done"))
    assert status == 2 and "in use" in line
