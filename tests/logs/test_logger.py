"""What the console shows: plain lines into a file, a bar on a (pseudo) terminal, nothing on other processes."""

import io
import os
import re
import struct
import subprocess
import sys
import time

import pytest
from rich.console import Console

from jaxcls.logs import logger
from jaxcls.logs.display import SHARES, format_value, time_left
from jaxcls.logs.logger import Logger, read_metrics


class Clock:
    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(logger.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def plain(tmp_path, **options):
    console = Console(file=io.StringIO(), force_terminal=False, width=80)
    options = {"total_steps": 400, "steps_per_epoch": 100, **options}
    return Logger(tmp_path / "run", console=console, **options), console.file


def test_plain_lines_for_the_first_step_every_ten_seconds_and_the_last(tmp_path, clock):
    log, out = plain(tmp_path)
    for step in range(401):
        log.progress(step, {"loss": 2.0, "accuracy": 0.25}, 1234.5)
        clock.now += 0.2  # 80 s in all
    lines = out.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == [f"step {step}/400" for step in range(0, 401, 50)]
    # 100 steps took 20 s, so the 300 that are left take a minute.
    assert lines[2] == "step 100/400  epoch 1.0/4  loss 2  accuracy 25.00 %  1,234 pictures/s  1:00 left"
    assert lines[-1] == "step 400/400  epoch 4.0/4  loss 2  accuracy 25.00 %  1,234 pictures/s"


def test_time_left_of_a_resumed_run_counts_its_own_steps(tmp_path, clock):
    log, out = plain(tmp_path, start_step=300)
    log.progress(301, {}, 1.0)
    clock.now += 100
    log.progress(311, {}, 1.0)  # 10 s a step, 89 to go
    assert "left" not in out.getvalue().splitlines()[0]
    assert out.getvalue().splitlines()[1].endswith("14:50 left")


def test_long_times_show_hours():
    assert time_left(3600.0, 1, 2) == "2:00:00 left"


@pytest.mark.parametrize(
    "name, shares, expected",
    [
        ("accuracy", SHARES, "accuracy 25.00 %"),
        ("validation_top5", SHARES, "validation top5 25.00 %"),
        ("validation accuracy", SHARES, "validation accuracy 25.00 %"),
        ("balanced_accuracy", SHARES, "balanced accuracy 25.00 %"),
        ("accuracy_ratio", SHARES, "accuracy ratio 0.25"),
        ("inaccuracy", SHARES, "inaccuracy 0.25"),
        ("accuracy", ("mean_iou",), "accuracy 0.25"),
        ("test_mean_iou", ("mean_iou",), "test mean iou 25.00 %"),
        ("iou", ("mean_iou",), "iou 0.25"),
        ("accuracy", (), "accuracy 0.25"),
    ],
)
def test_shares_are_those_that_are_named(name, shares, expected):
    assert format_value(name, 0.25, shares) == expected


def test_progress_shows_the_shares_of_the_task(tmp_path, clock):
    log, out = plain(tmp_path, shares=("mean_iou",))
    log.progress(1, {"mean_iou": 0.5, "accuracy": 0.5}, 1.0)
    assert "mean iou 50.00 %  accuracy 0.5" in out.getvalue()


def test_a_terminal_has_a_live_line_before_there_are_values(tmp_path, clock):
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    log = Logger(tmp_path / "run", console=console, total_steps=400, steps_per_epoch=100)
    assert log.live and not plain(tmp_path)[0].live
    log.progress(1, {}, 0.0)
    first = console.file.getvalue()
    assert "1/400" in first and "pictures/s" not in first  # no speed is known yet
    clock.now += 0.2
    log.progress(2, {}, 50.0)
    assert console.file.getvalue() == first  # a quarter of a second has not gone by
    clock.now += 0.1
    log.progress(3, {}, 50.0)
    assert "3/400" in console.file.getvalue() and "50 pictures/s" in console.file.getvalue()
    log.close()


def test_values_are_read_only_when_shown(tmp_path, clock):
    class OnDevice:
        reads = 0

        def __float__(self):
            self.reads += 1
            return 1.0

    log, _ = plain(tmp_path)
    value = OnDevice()
    for step in range(10):
        log.progress(step, {"loss": value}, 1.0)
    assert value.reads == 1


def test_progress_costs_little_when_nothing_is_due(tmp_path):
    log, _ = plain(tmp_path, total_steps=10**9)
    values = {"loss": 1.0, "accuracy": 0.5}
    log.progress(0, values, 1.0)
    began = time.perf_counter()
    for step in range(1, 2001):
        log.progress(step, values, 1.0)
    assert (time.perf_counter() - began) / 2000 < 100e-6


def test_waiting_speaks_at_once_and_tells_long_times(tmp_path, clock):
    log, out = plain(tmp_path)
    with log.waiting("compiling the training step"):
        assert out.getvalue() == "compiling the training step ...\n"
        clock.now += 12.34
    with log.waiting("saving"):
        clock.now += 0.5
    with pytest.raises(KeyError), log.waiting("failing"):
        clock.now += 5
        raise KeyError
    assert out.getvalue().splitlines() == [
        "compiling the training step ...",
        "compiling the training step: 12.3 s",
        "saving ...",
        "failing ...",
    ]


def test_lines_are_neither_wrapped_nor_interpreted(tmp_path):
    log, out = plain(tmp_path)
    text = "[bold]data[/bold] :smile: " + "long/" * 40
    log.note(text)
    log.warn("disk is [red]nearly[/red] full")
    assert out.getvalue() == f"{text}\nwarning: disk is [red]nearly[/red] full\n"


def test_summary_is_aligned_and_commands_can_be_copied(tmp_path):
    log, out = plain(tmp_path)
    command = "python -m jaxcls.training.evaluate " + "--flag " * 20
    log.summary("resnet18", [("accuracy", "93.1 %"), ("time", "1:02:03")], [("evaluate it again", command)])
    assert out.getvalue().splitlines() == [
        "",
        "resnet18",
        "  accuracy  93.1 %",
        "  time      1:02:03",
        "",
        "Next",
        "  evaluate it again",
        f"    {command}",
    ]


def test_other_processes_do_nothing(tmp_path):
    log, out = plain(tmp_path, writes=False)
    with log, log.waiting("compiling"):
        log.note("a")
        log.warn("b")
        log.scalars(1, {"loss": 1.0})
        log.progress(1, {"loss": 1.0}, 1.0)
        log.summary("c", [], [])
    assert out.getvalue() == ""
    assert list(tmp_path.iterdir()) == []


def test_scalars_are_recorded_and_closing_twice_is_fine(tmp_path):
    log, _ = plain(tmp_path)
    log.scalars(50, {"loss": 1.5})
    log.scalars(100, {"loss": 1.25}, split="validation")
    log.close()
    log.close()
    log.note("after the end: nothing")
    (train, validation) = read_metrics(tmp_path / "run")
    assert (train["split"], train["epoch"], train["loss"]) == ("train", 0.5, 1.5)
    assert (validation["split"], validation["epoch"], validation["loss"]) == ("validation", 1.0, 1.25)


def on_terminal(code, cwd, columns=80, **env):
    """Exit status and raw output of Python code run on a pseudo terminal."""
    pty = pytest.importorskip("pty")
    import fcntl
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")}
    env = {**clean, "TERM": "xterm-256color", "PYTHON_COLORS": "0", **env}  # Python 3.13 colours tracebacks
    process = subprocess.Popen([sys.executable, "-c", code], cwd=cwd, env=env, stdout=slave, stderr=slave)
    os.close(slave)
    output = b""
    while True:
        try:
            chunk = os.read(master, 4096)
        except OSError:  # Linux says so when the other side is closed
            break
        if not chunk:
            break
        output += chunk
    os.close(master)
    return process.wait(), output.decode()


FAILING = """
from jaxcls.logs import logger
logger.REDRAW_SECONDS = 0
with logger.Logger("run", total_steps=40, steps_per_epoch=10) as log:
    with log.waiting("compiling"):
        with log.waiting("reading"):
            pass
    for step in range(20):
        log.progress(step, {"loss": 1.0, "accuracy": 0.5}, 123.0)
        if step == 10:
            log.warn("careful")
    raise RuntimeError("in the loop")
"""
COLOUR = re.compile(r"\x1b\[(?:3[0-7]|38;5;\d+)m")


def test_an_exception_leaves_the_terminal_sane(tmp_path):
    status, output = on_terminal(FAILING, tmp_path)
    assert status == 1
    assert "RuntimeError: in the loop" in output
    assert output.count("\x1b[?25l") == output.count("\x1b[?25h") > 0  # the cursor is hidden, and shown again
    assert output.rfind("\x1b[?25h") < output.rfind("step 19/40  epoch 1.9/4") < output.rfind("Traceback")
    assert "\x1b[33mwarning: careful\x1b[0m\r\n" in output
    assert "19/40" in output and COLOUR.search(output)


def test_no_color_is_honoured_and_the_bar_stays(tmp_path):
    _, output = on_terminal(FAILING, tmp_path, NO_COLOR="1")
    assert "compiling" in output and "━" in output
    assert not COLOUR.search(output)


def test_the_bar_fits_a_narrow_terminal(tmp_path):
    code = FAILING.replace("log.warn", "str")
    _, output = on_terminal(code, tmp_path, columns=40)
    drawn = output[output.index("epoch 0.0") : output.rindex("step 19/40")]
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn).replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= 40
    assert any("loss 1" in line for line in lines)
