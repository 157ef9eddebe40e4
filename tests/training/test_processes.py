"""Two processes on one machine train together, get what one process gets with as many devices, and end together."""

import json
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import runs

LONG = ["--config.duration=100000 steps", "--config.eval.every=50000 steps", "--config.checkpoint.every=20 steps"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.parametrize("mode", [pytest.param("jit", marks=pytest.mark.slow), "pmap"])
def test_two_processes_equal_one(tmp_path, mode):
    arguments = ["--config.duration=30 steps", "--config.eval.every=15 steps", f"--config.parallel.mode={mode}"]
    runs.finish(runs.start(tmp_path / "one", *arguments, devices=2, report=False), tmp_path / "one")
    address = f"--coordinator_address=127.0.0.1:{free_port()}"
    both = [
        runs.start(tmp_path / "two", *arguments, address, "--num_processes=2", f"--process_id={i}", report=False)
        for i in range(2)
    ]
    for process in both:
        runs.finish(process, tmp_path / "two")
    one, two = runs.final_arrays(tmp_path / "one"), runs.final_arrays(tmp_path / "two")
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_allclose(value, two[name], rtol=1e-4, atol=1e-5, err_msg=name)
    results = [json.loads((tmp_path / w / "results.json").read_text())["test"] for w in ("one", "two")]
    assert results[0]["count"] == results[1]["count"] == 64
    assert results[0]["loss"] == pytest.approx(results[1]["loss"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["jit", "pmap"])
@pytest.mark.parametrize("method", ["simclr", "moco"])
def test_two_processes_learn_from_views_as_one(tmp_path, method, mode):
    """Negatives and the queue are of both, and so are the keys' shuffled groups."""
    arguments = [
        f"--config.ssl.method={method}", "--config.ssl.projector=(16, 8)", "--config.monitor.knn=",
        "--config.loss.label_smoothing=0.0", "--config.duration=2 steps", f"--config.parallel.mode={mode}",
        "--config.schedule.name=constant", "--config.schedule.warmup=", "--config.schedule.peak=0.01",
        *(["--config.ssl.queue=64"] if method == "moco" else []),
    ]  # fmt: skip
    runs.finish(runs.start(tmp_path / "one", *arguments, devices=2, report=False), tmp_path / "one")
    address = f"--coordinator_address=127.0.0.1:{free_port()}"
    for process in [
        runs.start(tmp_path / "two", *arguments, address, "--num_processes=2", f"--process_id={i}", report=False)
        for i in range(2)
    ]:
        runs.finish(process, tmp_path / "two")
    one, two = runs.final_arrays(tmp_path / "one"), runs.final_arrays(tmp_path / "two")
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_allclose(value, two[name], rtol=1e-4, atol=1e-5, err_msg=name)


def start_two(folder, *arguments):
    """Two processes of a run in `folder/run`; their outputs go to `folder/INDEX.log`."""
    folder.mkdir(exist_ok=True)
    address = f"--coordinator_address=127.0.0.1:{free_port()}"
    common = (f"--workdir={folder}/run", *arguments, address, "--num_processes=2")
    return [runs.start(folder / str(i), *common, f"--process_id={i}", report=False) for i in range(2)]


# The command for a run that ends at step `JAXCLS_TEST_STOP`, though its schedule is for more.
STOPPING = """
import os
from jaxcls.training import fitting
import runs

built = fitting.built
stop = int(os.environ["JAXCLS_TEST_STOP"])
fitting.built = lambda *args, **options: runs.changed(built(*args, **options), total_steps=stop)
"""


def start_some(number, workdir, *arguments, each=lambda i: (), program=runs.PLAIN):
    """A run's processes; their outputs go to `WORKDIR-NUMBER-INDEX.log`."""
    address = f"--coordinator_address=127.0.0.1:{free_port()}"
    common = (f"--workdir={workdir}", *arguments, address, f"--num_processes={number}")
    own = lambda i: [f"--process_id={i}", *each(i)]  # noqa: E731
    return [
        runs.start(f"{workdir}-{number}-{i}", *common, *own(i), report=False, program=program) for i in range(number)
    ]


@pytest.mark.slow
@pytest.mark.timeout(1800)  # ten processes compile
@pytest.mark.parametrize("shard", ["", "fsdp"])
def test_a_run_goes_on_in_four_then_two_then_three_processes(tmp_path, shard, monkeypatch):
    """With the same batches: the result is that of one process which nobody has stopped."""
    arguments = ["--config.batch_size=24", "--config.duration=9 steps", "--config.eval.every=3 steps",
                 "--config.checkpoint.every=3 steps", "--config.log_every=1 step"]  # fmt: skip
    arguments.append("--config.schedule.warmup=")
    cut = [f"--config.parallel.shard={shard}"] if shard else []
    runs.finish(runs.start(tmp_path / "one", *arguments, report=False), tmp_path / "one")
    monkeypatch.setenv("PYTHONPATH", f"{runs.ROOT}:{runs.ROOT}/tests")
    for number, stop in ((4, 3), (2, 6), (3, 9)):
        monkeypatch.setenv("JAXCLS_TEST_STOP", str(stop))
        processes = start_some(number, tmp_path / "some", *arguments, *cut, program=STOPPING + runs.PLAIN)
        assert [process.wait(400) for process in processes] == [0] * number
        told = Path(f"{tmp_path}/some-{number}-0.log").read_text()
        assert stop == 3 or f"going on from step {stop - 3} of {stop}" in told
    one, some = runs.final_arrays(tmp_path / "one"), runs.final_arrays(tmp_path / "some")
    assert one.keys() == some.keys()
    for name, value in one.items():
        np.testing.assert_allclose(value, some[name], rtol=1e-4, atol=1e-5, err_msg=name)
    losses = []
    for name in ("one", "some"):
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in lines if line["split"] == "train"])
    assert len(losses[0]) == 9
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


@pytest.mark.slow
def test_a_process_with_another_config_ends_all_with_a_line(tmp_path):
    processes = start_some(2, tmp_path / "run", *LONG, each=lambda i: [f"--config.seed={i}"])
    assert all(process.wait(120) for process in processes)
    texts = [Path(f"{tmp_path}/run-2-{i}.log").read_text() for i in range(2)]
    line = "error: process 1 of 2 is not like process 0: config.seed is 1 there and 0 on process 0"
    assert any(line in text for text in texts) and not any("Traceback" in text for text in texts)
    assert not (tmp_path / "run/config.json").exists()


def output(folder, index):
    return (Path(folder) / f"{index}.log").read_text()


def saved(folder):
    return max((int(path.stem) for path in (folder / "run" / "manifests").glob("*.json")), default=0)


def wait_until(moment, folder, processes):
    """Returns when a run has come to a moment: "compiling", "stepping" or "saving"."""
    deadline, before = time.monotonic() + 200, saved(folder)
    come = {
        "compiling": lambda: "compiling the training step" in output(folder, 0),
        "stepping": lambda: saved(folder) >= before + 20,
        "saving": lambda: saved(folder) and any((folder / "run" / "checkpoints").glob("*tmp*")),
    }[moment]
    while not come():
        assert time.monotonic() < deadline and not any(p.poll() for p in processes), output(folder, 0)
        time.sleep(0.002)
    time.sleep({"compiling": 0.5, "stepping": 0.3, "saving": 0.0}[moment])


def killed(folder, which, moment, *arguments, by=signal.SIGKILL):
    """Kills one of two processes; checks how the other ends. Returns the step that it names, 0 for none."""
    processes = start_two(folder, *arguments)
    try:
        wait_until(moment, folder, processes)
        processes[which].send_signal(by)
        began = time.monotonic()
        assert processes[1 - which].wait(60) == 1, output(folder, 1 - which)
        assert time.monotonic() - began < 30
    finally:
        for process in processes:
            process.kill()
            process.wait()
    text = output(folder, 1 - which)
    [line] = [line for line in text.splitlines() if line.startswith("error: ")]
    assert f"error: process {which} of 2 is lost" in line and text.endswith(line + "\n")
    assert "Traceback" not in text and "Check failure" not in text
    return int(line.rpartition("from step ")[2].rstrip(".")) if "goes on from step" in line else 0


@pytest.mark.slow
def test_a_killed_process_ends_the_other_with_a_line(tmp_path):
    """Process 0 has JAX's coordination service, without which XLA aborts the others."""
    step = killed(tmp_path, 0, "stepping", *LONG)
    assert step == saved(tmp_path) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("moment", ["compiling", "stepping", "saving"])
@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_a_process_killed_at_any_moment(tmp_path, which, moment, mode):
    step = killed(tmp_path, which, moment, *LONG, f"--config.parallel.mode={mode}")
    assert step == saved(tmp_path) and (step > 0) == (moment != "compiling")


@pytest.mark.slow
def test_a_kill_in_a_sharded_save_leaves_a_run_that_goes_on(tmp_path):
    arguments = [*LONG, "--config.parallel.shard=fsdp"]
    step = killed(tmp_path, 1, "saving", *arguments)
    assert step == saved(tmp_path) > 0
    for i in (0, 1):
        (tmp_path / f"{i}.log").unlink()
    assert killed(tmp_path, 0, "stepping", *arguments) >= step + 20
    assert f"going on from step {step}" in output(tmp_path, 0)


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
def test_a_stopped_process_is_lost(tmp_path, which):
    killed(tmp_path, which, "stepping", *LONG, by=signal.SIGSTOP)


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    arguments = ["--config.duration=300 steps", "--config.checkpoint.every=5 steps", "--config.eval.every=100 steps"]
    for process in start_two(tmp_path / "whole", *arguments):
        runs.finish(process, tmp_path / "whole" / "0")
    for which in (1, 0):
        killed(tmp_path / "killed", which, "stepping", *arguments)
        for i in (0, 1):
            (tmp_path / "killed" / f"{i}.log").unlink()
    for process in start_two(tmp_path / "killed", *arguments):
        runs.finish(process, tmp_path / "killed" / "0")
    assert "going on from step" in output(tmp_path / "killed", 0)
    whole, resumed = (runs.final_arrays(tmp_path / name / "run") for name in ("whole", "killed"))
    assert whole.keys() == resumed.keys()
    assert not [name for name in whole if whole[name].tobytes() != resumed[name].tobytes()]


@pytest.mark.slow
def test_a_signal_to_one_stops_both_and_a_lost_workdir_ends_both(tmp_path):
    processes = start_two(tmp_path, *LONG)
    wait_until("stepping", tmp_path, processes)
    processes[1].send_signal(signal.SIGTERM)
    assert [process.wait(60) for process in processes] == [0, 0], output(tmp_path, 0)
    processes = start_two(tmp_path, *LONG)
    before = saved(tmp_path)
    while saved(tmp_path) <= before:
        assert not any(process.poll() for process in processes), output(tmp_path, 0)
        time.sleep(0.02)
    second = start_two(tmp_path / "again", *LONG, f"--workdir={tmp_path}/run")
    assert [process.wait(120) for process in second] == [2, 2]
    assert "is in use" in output(tmp_path / "again", 0) and "process 0 can't go on" in output(tmp_path / "again", 1)
    (tmp_path / "run").rename(tmp_path / "moved")
    assert [process.wait(60) for process in processes] == [2, 1]
    assert "was deleted, moved or emptied" in output(tmp_path, 0)
    assert "process 0 of 2 has ended by an error" in output(tmp_path, 1)
