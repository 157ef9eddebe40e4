"""Weights & Biases and MLflow: our calls to stand-ins of their packages, and, where they are installed, the real ones.

pip install 'jaxcls[wandb,mlflow]' installs them; values are read back from wandb's offline file and MLflow's database.
"""

import json
import os
import struct
import subprocess
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest

from jaxcls.errors import UserError
from jaxcls.logs import check_writers
from jaxcls.logs.logger import Logger
from jaxcls.logs.records import Records

CONFIG = {"seed": 7, "optim": {"name": "sgd", "freeze": []}, "log_to": ["wandb", "mlflow"], "fields": {}}


def write(workdir, name, steps, start_step=0, config=CONFIG):
    """A run of ten steps an epoch; its loss is the step. Returns what it warned of."""
    lines = []
    options = {"to": (name,), "config": config, "warn": lines.append}
    run = Records(workdir, steps_per_epoch=10, start_step=start_step, **options)
    for step in steps:
        run.scalars(step, {"loss": float(step), "odd (name)": float("nan")}, "train")
    run.close()
    return lines


def stand_in(monkeypatch, name, **contents):
    """A module of that name."""
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None, origin="a stand-in")
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)
    return module


@pytest.fixture
def wandb(monkeypatch):
    """Its functions, which keep their arguments in `calls`; `mode` and `key` are what it would find."""
    calls = []

    def method(name):
        return lambda *args, **kwargs: calls.append((name, *args, *([kwargs] if kwargs else [])))

    run = SimpleNamespace(define_metric=method("define_metric"), log=method("log"), finish=method("finish"))

    def init(**kwargs):
        calls.append(("init", kwargs))
        return run

    module = stand_in(monkeypatch, "wandb", calls=calls, init=init, Settings=dict, mode="online", key=True)
    module.setup = lambda: SimpleNamespace(settings=SimpleNamespace(mode=module.mode))
    module.login = lambda **kwargs: calls.append(("login", kwargs)) or module.key
    return module


def test_wandb_is_called_as_it_should_be(wandb, tmp_path):
    wandb.mode = "offline"
    assert write(tmp_path / "run", "wandb", [5]) == []
    (_, init), *calls = wandb.calls
    settings = init.pop("settings")
    assert settings["silent"] and settings["console"] == "off" and settings["finish_timeout"] == 300
    assert init.pop("id") == (tmp_path / "run" / "wandb_run_id.txt").read_text().strip() != ""
    expected = {"project": "jaxcls", "name": "run", "dir": str(tmp_path / "run"), "resume": "allow", "config": CONFIG}
    assert init == {**expected, "reinit": "create_new"}
    assert calls[0] == ("define_metric", "*", {"step_metric": "step"})
    assert {k: str(v) for k, v in calls[1][1].items()} == {
        "step": "5",
        "epoch": "0.5",
        "train/loss": "5.0",
        "train/odd (name)": "nan",
    }
    assert calls[2:] == [("finish", {"exit_code": 0})]


def test_wandb_goes_on_with_the_run_of_the_workdir(wandb, tmp_path):
    for start_step in (0, 20, 30, 0):
        write(tmp_path, "wandb", [], start_step)
    ids = [call[1]["id"] for call in wandb.calls if call[0] == "init"]
    assert ids[0] == ids[1] == ids[2] != ids[3]


def test_wandb_marks_what_was_interrupted(wandb, tmp_path):
    with pytest.raises(KeyError), Logger(tmp_path, total_steps=1, steps_per_epoch=1, to=("wandb",)):
        raise KeyError
    assert wandb.calls[-1] == ("finish", {"exit_code": 1})


def test_wandb_asks_for_no_key_in_the_middle_of_a_start(wandb):
    check_writers(["wandb"])
    assert wandb.calls == [("login", {"prompt": False, "verify": False})]
    wandb.key = False
    with pytest.raises(UserError, match="no API key; run `wandb login`, or set WANDB_MODE=offline"):
        check_writers(["wandb"])
    wandb.mode = "offline"
    check_writers(["wandb"])


class StandInClient:
    """MlflowClient with a dict in place of a server."""

    runs, uris, down = {}, [], False

    def __init__(self, tracking_uri):
        StandInClient.uris.append(tracking_uri)

    def get_experiment_by_name(self, name):
        return SimpleNamespace(experiment_id="1") if self.runs else None

    def create_experiment(self, name):
        assert name == "jaxcls"
        return "1"

    def create_run(self, experiment_id, run_name):
        run_id = f"r{len(self.runs)}"
        info = SimpleNamespace(run_id=run_id, lifecycle_stage="active")
        self.runs[run_id] = SimpleNamespace(info=info, name=run_name, params={}, metrics=[], status=[])
        return self.runs[run_id]

    def get_run(self, run_id):
        if run_id not in self.runs:
            raise sys.modules["mlflow.exceptions"].MlflowException("no such run")
        return self.runs[run_id]

    def update_run(self, run_id, status):
        self.runs[run_id].status.append(status)

    set_terminated = update_run

    def log_batch(self, run_id, metrics=(), params=()):
        if self.down:
            raise ConnectionError("Max retries exceeded")
        assert len(params) <= 100 and all(len(value) <= 6000 for _, value in params)
        self.runs[run_id].metrics += metrics
        self.runs[run_id].params |= dict(params)


@pytest.fixture
def mlflow(monkeypatch):
    """The stand-in client, in stand-in modules."""
    error = type("MlflowException", (Exception,), {"error_code": "RESOURCE_DOES_NOT_EXIST"})
    stand_in(monkeypatch, "mlflow")
    stand_in(monkeypatch, "mlflow.exceptions", MlflowException=error)
    stand_in(monkeypatch, "mlflow.tracking", MlflowClient=StandInClient)
    stand_in(monkeypatch, "mlflow.entities", Metric=lambda *args: args, Param=lambda *args: args)
    monkeypatch.setattr(StandInClient, "runs", {})
    monkeypatch.setattr(StandInClient, "uris", [])
    monkeypatch.setattr(StandInClient, "down", False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")  # the user's; the other one is removed afterwards
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    return StandInClient


def test_mlflow_is_called_as_it_should_be(mlflow, tmp_path):
    config = {**CONFIG, "long": "x" * 7000, "many": {str(i): i for i in range(150)}}
    assert write(tmp_path / "run", "mlflow", [5], config=config) == []
    assert mlflow.uris == ["http://server:5000"]
    (run,) = mlflow.runs.values()
    assert (run.name, run.status) == ("run", ["FINISHED"])
    assert {k: v for k, v in run.params.items() if k[:4] not in ("long", "many")} == {
        "seed": "7",
        "optim.name": "sgd",
        "optim.freeze": "[]",
        "log_to": "['wandb', 'mlflow']",
        "fields": "{}",
    }
    assert len(run.params) == 5 + 1 + 150
    (line,) = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    moment = pytest.approx(line["time"] * 1000, abs=1)
    assert run.metrics[0] == ("train/loss", 5.0, moment, 5)
    assert run.metrics[1][0] == "train/odd _name_"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "2" and os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "7"


def test_mlflow_goes_on_with_the_run_of_the_workdir(mlflow, tmp_path):
    write(tmp_path, "mlflow", [1])
    write(tmp_path, "mlflow", [3], start_step=2, config={"seed": 8})  # a parameter cannot be changed
    (run,) = mlflow.runs.values()
    assert [metric[3] for metric in run.metrics[::2]] == [1, 3]
    assert run.status == ["FINISHED", "RUNNING", "FINISHED"] and run.params["seed"] == "7"
    mlflow.runs.clear()  # another server: it does not know the run
    write(tmp_path, "mlflow", [5], start_step=4)
    assert len(mlflow.runs) == 1
    run = mlflow.runs["r0"]
    run.info.lifecycle_stage = "deleted"
    write(tmp_path, "mlflow", [7], start_step=6)
    assert mlflow.runs.keys() == {"r0", "r1"}


def test_mlflow_without_its_server_is_left_out(mlflow, tmp_path, monkeypatch):
    monkeypatch.setattr(mlflow, "down", True)
    (line,) = write(tmp_path, "mlflow", [1, 2], config={})
    assert line == "mlflow fails and gets no more values, metrics.jsonl has all: Max retries exceeded"
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def offline_records(workdir):
    """The records of wandb's offline files, oldest first: a log of LevelDB's format whose records are messages."""
    from wandb.proto.wandb_internal_pb2 import Record

    for path in sorted(workdir.glob("wandb/offline-run-*/*.wandb")):
        content, at, whole = path.read_bytes(), 7, b""
        while at + 7 <= len(content):
            if 32768 - at % 32768 < 7:  # no header begins in the last bytes of a block
                at += 32768 - at % 32768
                continue
            length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
            whole += content[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (1, 4):  # a whole record, or the last part of one
                yield Record.FromString(whole)
                whole = b""


def run_logger(code, tmp_path, **env):
    """Python code in a process of its own, with no one's settings; fails if it fails."""
    names = ("WANDB_", "MLFLOW_")
    env = {**{k: v for k, v in os.environ.items() if not k.startswith(names)}, "HOME": str(tmp_path), **env}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result


LOGGING = """
import time
from jaxcls.logs import check_writers
from jaxcls.logs.logger import Logger
name = "NAME"
check_writers([name])
for start, steps in ((0, (10, 20)), (10, (20, 30))):
    options = {"total_steps": 30, "steps_per_epoch": 10, "start_step": start}
    with Logger("run", **options, to=(name,), config={"seed": 7, "optim": {"name": "sgd"}}) as log:
        for step in steps:
            log.scalars(step, {"loss": step + start / 100, "odd": float("nan")}, split="validation")
    time.sleep(1)  # wandb names the folder of a run by the second
"""


def test_real_wandb_offline(tmp_path):
    pytest.importorskip("wandb")
    result = run_logger(LOGGING.replace("NAME", "wandb"), tmp_path, WANDB_MODE="offline")
    assert result.stderr == "" and "warning" not in result.stdout
    assert not [line for line in result.stdout.splitlines() if line.startswith("wandb:")]
    records = list(offline_records(tmp_path / "run"))
    runs = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    run_id = (tmp_path / "run" / "wandb_run_id.txt").read_text().strip()
    assert {(run.run_id, run.project, run.display_name) for run in runs} == {(run_id, "jaxcls", "run")}
    config = {item.key: json.loads(item.value_json) for run in runs for item in run.config.update}
    assert config["seed"] == 7 and config["optim"] == {"name": "sgd"}
    rows = []
    for record in records:
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    told = [(row["step"], row["epoch"], row["validation/loss"], str(row["validation/odd"])) for row in rows]
    assert told == [(10, 1, 10, "nan"), (20, 2, 20, "nan"), (20, 2, 20.1, "nan"), (30, 3, 30.1, "nan")]


def test_real_wandb_without_a_key(tmp_path):
    pytest.importorskip("wandb")
    code = """
from jaxcls.errors import UserError
from jaxcls.logs import check_writers
try:
    check_writers(["wandb"])
except UserError as error:
    print(error)
"""
    assert run_logger(code, tmp_path).stdout.startswith("config.log_to=wandb: there is no API key; run `wandb login`")
    assert run_logger(code, tmp_path, WANDB_API_KEY="0" * 40).stdout == ""


def test_real_mlflow_in_the_workdir(tmp_path):
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    from mlflow.tracking import MlflowClient

    result = run_logger(LOGGING.replace("NAME", "mlflow"), tmp_path)
    assert "INFO mlflow" not in result.stderr and "warning" not in result.stdout
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("jaxcls")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == (tmp_path / "run" / "mlflow_run_id.txt").read_text().strip()
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params == {"seed": "7", "optim.name": "sgd"}
    history = client.get_metric_history(run.info.run_id, "validation/loss")
    assert sorted((point.step, point.value) for point in history) == [(10, 10), (20, 20), (20, 20.1), (30, 30.1)]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    times = {point.step: point.timestamp / 1000 for point in history if point.value != 20}
    assert all(times[line["step"]] == pytest.approx(line["time"], abs=0.002) for line in lines)
    odd = client.get_metric_history(run.info.run_id, "validation/odd")
    assert len(odd) == 4 and all(point.value != point.value for point in odd)


def test_real_mlflow_whose_server_is_not_there(tmp_path):
    pytest.importorskip("mlflow")
    result = run_logger(LOGGING.replace("NAME", "mlflow"), tmp_path, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert result.stdout.count("warning: mlflow fails") == 2  # one a run, and there are two
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 3
