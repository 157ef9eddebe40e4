"""Writers behind `Records`: the built-in ones and one of the test's own are handled alike; a failing one is dropped."""

import io
import json
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
from rich.console import Console

from jaxcls.errors import UserError
from jaxcls.logs import check_writers, trackers
from jaxcls.logs.events import EventFiles
from jaxcls.logs.json_lines import JsonLines, read_metrics
from jaxcls.logs.logger import Logger
from jaxcls.logs.records import Records
from jaxcls.logs.trackers import Tracker


class Fake:
    """Records the calls; fails in the method named by `fails`."""

    name, essential = "fake", False
    fails, made = "", []

    def __init__(self, workdir, start_step, config):
        self.calls = [("made", workdir, start_step, config)]
        Fake.made.append(self)
        self._fail("made")

    def scalars(self, step, split, epoch, time, values):
        self.calls.append((step, split, epoch, dict(values)))
        self._fail("scalars")

    def close(self, finished=True):
        self.calls.append(("close", finished))
        self._fail("close")

    def _fail(self, method):
        if Fake.fails == method:
            raise RuntimeError(f"{method}: the server is gone\nTraceback of its own")


@pytest.fixture
def fake(monkeypatch):
    """The class above, as the writer "fake"."""
    monkeypatch.setitem(trackers.TRACKERS, "fake", Tracker("json", Fake, lambda: None))
    monkeypatch.setattr(Fake, "fails", "")
    monkeypatch.setattr(Fake, "made", [])
    return Fake


def console():
    return Console(file=io.StringIO(), force_terminal=False, width=80)


def logger(tmp_path, **options):
    return Logger(tmp_path / "run", total_steps=40, steps_per_epoch=10, console=console(), **options)


def test_built_in_writers_take_the_same_calls(tmp_path):
    """Used by themselves; the event file is read by TensorBoard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for writer in (JsonLines(tmp_path), EventFiles(tmp_path)):
        writer.scalars(3, "train", 1.5, 1700000000.25, {"loss": 0.5})
        writer.close()
        assert writer.essential and str(tmp_path) in writer.name
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line == {"step": 3, "split": "train", "epoch": 1.5, "time": 1700000000.25, "loss": 0.5}
    accumulator = EventAccumulator(str(tmp_path / "events" / "train"))
    accumulator.Reload()
    (event,) = accumulator.Scalars("loss")
    assert (event.step, event.wall_time, event.value) == (3, 1700000000.25, 0.5)


def test_a_further_writer_gets_every_value_and_the_config(tmp_path, fake):
    with logger(tmp_path, to=("fake", "fake"), config={"seed": 0}, start_step=5) as log:
        log.scalars(15, {"loss": float("inf")})
        log.scalars(20, {"accuracy": 0.5}, split="validation")
    (writer,) = fake.made
    assert writer.calls == [
        ("made", tmp_path / "run", 5, {"seed": 0}),
        (15, "train", 1.5, {"loss": float("inf")}),
        (20, "validation", 2.0, {"accuracy": 0.5}),
        ("close", True),
    ]
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == [15, 20]


def test_an_exception_marks_the_run_as_unfinished(tmp_path, fake):
    with pytest.raises(KeyError), logger(tmp_path, to=("fake",)):
        raise KeyError
    assert fake.made[0].calls[-1] == ("close", False)


@pytest.mark.parametrize("method, calls", [("made", 1), ("scalars", 2), ("close", 4)])
def test_a_failing_writer_is_dropped_with_one_line(tmp_path, fake, method, calls):
    fake.fails = method
    log = logger(tmp_path, to=("fake",))
    log.scalars(1, {"loss": 1.0})
    log.scalars(2, {"loss": 2.0})
    log.close()
    warnings = [line for line in log._console.file.getvalue().splitlines() if line.startswith("warning")]
    expected = "warning: fake fails and gets no more values, metrics.jsonl has all: "
    assert warnings == [f"{expected}{method}: the server is gone"]
    assert len(fake.made[0].calls) == calls
    assert [line["loss"] for line in read_metrics(tmp_path / "run")] == [1.0, 2.0]


def test_a_full_disk_ends_the_run_whoever_else_writes(tmp_path, fake):
    run = Records(tmp_path, steps_per_epoch=1, to=("fake",))

    def full(*_):
        raise OSError(28, "No space left on device")

    run._writers[0].scalars = full
    with pytest.raises(UserError, match=r"cannot write .*metrics\.jsonl: No space left"):
        run.scalars(1, {"loss": 1.0}, "train")
    run.scalars(2, {"loss": 1.0}, "train")
    run.close()
    assert [call[0] for call in fake.made[0].calls] == ["made", "close"]


def test_other_processes_start_no_writer(tmp_path, fake):
    with logger(tmp_path, to=("fake",), writes=False) as log:
        log.scalars(1, {"loss": 1.0})
    assert fake.made == []


def test_an_unknown_name_is_one_line_with_the_nearest(tmp_path):
    with pytest.raises(UserError, match=r"^config.log_to has 'wandbb'; did you mean 'wandb'\?$"):
        check_writers(["wandbb"])
    with pytest.raises(UserError, match=r"^config.log_to has 'comet'; it can have wandb, mlflow\.$"):
        Records(tmp_path / "run", steps_per_epoch=1, to=("comet",))
    assert not (tmp_path / "run").exists()


def absent(monkeypatch, *packages):
    """Makes packages look as if they were not installed."""
    find = trackers.importlib.util.find_spec
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None if name in packages else find(name))


def test_all_that_is_not_installed_is_told_at_once_with_the_remedy(monkeypatch):
    absent(monkeypatch, "wandb", "mlflow")
    check_writers([])
    with pytest.raises(UserError) as error:
        check_writers(["wandb", "mlflow", "wandb"])
    assert str(error.value).splitlines() == [
        "config.log_to=wandb needs a package that is not installed: pip install 'jaxcls[wandb]'",
        "config.log_to=mlflow needs a package that is not installed: pip install 'jaxcls[mlflow]'",
    ]


def test_a_folder_of_the_same_name_is_no_package(tmp_path, monkeypatch):
    """wandb makes a folder of its name, and Python takes any folder for a package."""
    (tmp_path / "namesake").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not trackers.installed("namesake")
    assert trackers.installed("json")


def test_mlflow_without_a_server_needs_a_database(monkeypatch):
    module = ModuleType("mlflow")
    module.__spec__ = ModuleSpec("mlflow", None, origin="a stand-in")
    monkeypatch.setitem(sys.modules, "mlflow", module)
    absent(monkeypatch, "alembic")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    check_writers(["mlflow"])
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(UserError, match="set MLFLOW_TRACKING_URI, or pip install .*alembic for a database"):
        check_writers(["mlflow"])
