"""A run that is asked to stop is saved at once, without an evaluation, and ends as if nothing had happened."""

import math
import shutil
import signal
import time

import pytest
import runs

from jaxcls.checkpoints import view
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.logs.records import read_metrics
from jaxcls.training import deadline, evaluate, loop, memory, postponed, signals
from jaxcls.training.feed import MemoryTrainFeed


def config_of(**changes):
    config = default_config()
    config.data.name = "synthetic/96x28x1x3"
    config.duration, config.batch_size, config.log_every = "8 steps", 16, "2 steps"
    config.eval.every = config.checkpoint.every = "4 steps"
    config.schedule.peak = 0.05
    config.plateau.figure, config.plateau.patience, config.plateau.factor = "loss", 0, 0.5
    config.plateau.threshold = 0.9  # so every evaluation but the first halves the rate
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, loop.run(config_of(), workdir)


def asked_at(monkeypatch, step, number=signal.SIGTERM):
    """Signals as they come while the training step up to `step` is under way, once."""
    call = MemoryTrainFeed.__call__
    current = []
    enter = signals.Signals.__enter__

    def entering(self):
        current.append(self)
        return enter(self)

    def feed(self, state, start, stop):
        result = call(self, state, start, stop)
        if current and start < step <= start + result[2]:
            current[-1].number = number
        return result

    monkeypatch.setattr(signals.Signals, "__enter__", entering)
    monkeypatch.setattr(MemoryTrainFeed, "__call__", feed)


def assert_same_arrays(a, b):
    """Every array of the last checkpoints, to the bit."""
    left, right = runs.final_arrays(a), runs.final_arrays(b)
    assert left.keys() == right.keys()
    assert not [name for name in left if left[name].tobytes() != right[name].tobytes()]


def assert_same_run(workdir, whole):
    assert_same_arrays(whole, workdir)
    best, steps = ([(s.number, s.best, s.finished) for s in view.list_steps(w)] for w in (whole, workdir))
    assert steps == best
    assert not [p for s in view.list_steps(workdir) for p in view.verify(s.path)]
    metas = [[view.read_meta(s.path).to_json() for s in view.list_steps(w)] for w in (whole, workdir)]
    assert [(m["metrics"], m["loop"]) for m in metas[0]] == [(m["metrics"], m["loop"]) for m in metas[1]]
    timeless = [[{k: v for k, v in x.items() if k in ("step", "split", "loss", "accuracy")} for x in read_metrics(w)]
                for w in (whole, workdir)]  # fmt: skip
    assert timeless[0] == timeless[1]


@pytest.mark.parametrize("step", [4, pytest.param(8, marks=pytest.mark.slow)])
def test_a_stop_where_a_step_is_evaluated(tmp_path, monkeypatch, whole, step, capsys):
    """Saved without an evaluation; going on ends with the same bits, scores and best checkpoint."""
    with monkeypatch.context() as patch:
        asked_at(patch, step)
        patch.setattr(evaluate.Measure, "__call__", evaluated_only_before(step))
        with pytest.raises(signals.Stopped, match=f"stopped by SIGTERM after step {step} of 8") as ended:
            loop.run(config_of(), tmp_path)
    assert ended.value.status == 0 and f"saving step {step}, then the run ends" in capsys.readouterr().out
    newest = view.list_steps(tmp_path)[-1]
    assert (newest.number, newest.finished, newest.best) == (step, True, False)
    assert loop.run(config_of(), tmp_path) == whole[1]
    assert_same_run(tmp_path, whole[0])


def evaluated_only_before(step):
    call = evaluate.Measure.__call__

    def measure(self, state):
        assert int(state.step) < step, "an evaluation after the run was asked to stop"
        return call(self, state)

    return measure


def test_a_stop_within_an_evaluation_leaves_it(tmp_path, monkeypatch, whole):
    between, left = loop.Loop._leave, []

    def leave(self):
        if not left:
            left.append(1)
            self.signals.number = signal.SIGINT
        between(self)

    monkeypatch.setattr(loop.Loop, "_leave", leave)
    with pytest.raises(signals.Stopped, match="stopped by Ctrl-C after step 4 of 8") as ended:
        loop.run(config_of(), tmp_path)
    assert ended.value.status == 130
    assert view.read_meta(view.find_step(tmp_path)).loop["owed"] == "evaluation"
    with pytest.raises(signals.Stopped, match="stopped by --max-time after step 4 of 8"):
        loop.run(config_of(), tmp_path, deadline=time.monotonic())  # what is on the disk stays
    assert loop.run(config_of(), tmp_path) == whole[1]
    assert_same_run(tmp_path, whole[0])


@pytest.mark.parametrize("moment", ["aside", "writing", "sealed"])
def test_a_kill_while_the_score_is_added_loses_nothing(tmp_path, whole, moment):
    """The three states in which a kill can leave the folders."""
    shutil.copytree(whole[0], tmp_path / "run")
    workdir, step = tmp_path / "run", 8
    folder = workdir / "checkpoints" / str(step)
    postponed._aside(workdir, step)
    if moment == "writing":
        folder.mkdir()
        (folder / "half").write_text("")
    elif moment == "sealed":
        shutil.copytree(whole[0] / "checkpoints" / str(step), folder)
        shutil.copy(view.manifest_path(whole[0] / "checkpoints" / str(step)), view.manifest_path(folder))
    postponed.put_back(workdir)
    assert view.verify(folder) == [] and view.list_steps(workdir)[-1].finished
    assert not (workdir / postponed.FOLDER).exists()


@pytest.mark.parametrize(
    "text, value", [("3h", 10800), ("90m", 5400), ("2d", 172800), ("3600s", 3600), ("1h30m", 5400), ("0.5m", 30)]
)
def test_times(text, value):
    assert deadline.seconds(text) == value
    assert deadline.after(text) == pytest.approx(time.monotonic() + value, abs=5)
    assert deadline.after(None) == math.inf


@pytest.mark.parametrize("text", ["", "3", "h", "3 h", "-3h", "0s", "3x", "nan", "infh", "٣h", "1e3s", "9" * 400 + "d"])
def test_no_times(text):
    with pytest.raises(UserError, match="no time above 0; write 3h"):
        deadline.seconds(text)


def test_the_end_of_the_time_stops_as_a_signal_does(tmp_path, whole):
    with pytest.raises(signals.Stopped, match="stopped by --max-time after step 1 of 8; the state is saved") as ended:
        loop.run(config_of(), tmp_path, deadline=time.monotonic())
    assert ended.value.status == 0
    shutil.copytree(whole[0], tmp_path / "done")
    with pytest.raises(signals.Stopped, match="after step 8 of 8"):  # the final evaluation is not begun
        loop.run(config_of(), tmp_path / "done", deadline=time.monotonic())


# As reported in public: AlphaFold issue 1023, LLNeRF issue 9, LWM issue 60, NumPy's own, JAX on CUDA.
@pytest.mark.parametrize(
    "message, need",
    [
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 7406166528 bytes.", "6.898 GiB asked for"),
        ("RESOURCE_EXHAUSTED: Out of memory allocating 20029400304 bytes.", "18.65 GiB asked for"),
        (
            "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used 21.95G "
            "of 15.48G hbm.\n Exceeded hbm capacity by 6.47G.",
            "21.95GiB needed, 15.48GiB there",
        ),
        (
            "RESOURCE_EXHAUSTED: Failed to allocate request for 1.50GiB (1610612736B) on device ordinal 0",
            "1.5 GiB asked for",
        ),
        ("RESOURCE_EXHAUSTED: who knows", ""),
    ],
)
def test_want_of_memory_names_the_settings(message, need):
    with pytest.raises(UserError) as error, memory.explained(16, 1, "float32"):
        raise RuntimeError(message)  # jaxlib's XlaRuntimeError is one
    line = str(error.value)
    assert "\n" not in line and len(line) < 400 and need in line
    for text in ("the device", "config.accumulate=2", "config.batch_size=8", "precision=bfloat16", "remat=True"):
        assert text in line, line


def test_want_of_memory_in_the_first_step(tmp_path, monkeypatch):
    def feed(self, state, start, stop):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 20029400304 bytes.")

    monkeypatch.setattr(MemoryTrainFeed, "__call__", feed)
    with pytest.raises(UserError, match=r"a training step \(18.65 GiB asked for\) at config.batch_size=16"):
        loop.run(config_of(), tmp_path)


def test_other_errors_stay_and_memory_of_the_host_is_told():
    with pytest.raises(RuntimeError, match="INTERNAL"), memory.explained(16, 1, "float32"):
        raise RuntimeError("INTERNAL: something else")
    told = r"of this machine is not enough for a training step \(29.8 GiB asked for\)"
    with pytest.raises(UserError, match=told), memory.explained(1, 1, "bfloat16"):
        raise MemoryError("Unable to allocate 29.8 GiB for an array with shape (4000000000,)")
