"""One trial: pruned and gone on with to the same bits, what fails is told, no test picture is looked at."""

import errno
import os
import signal
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcls.checkpoints import view
from jaxcls.criteria import Figure
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.training import build, loop
from jaxcls.tune import objectives, running

ACCURACY, LOSS = Figure("accuracy", share=True), Figure("loss", best="min")


def small(**changes):
    """A config of 96 training pictures, 4 epochs of 6 steps, evaluated after each."""
    config = default_config()
    config.data.name, config.data.validation = "synthetic/128x8x1x4", 0.25
    config.duration, config.batch_size, config.parallel.devices = "4 epochs", 16, 1
    config.model.name, config.model.fields = "simple_cnn_16_32", {"channels": (2, 2), "hidden": 4}
    config.schedule.peak, config.eval.every, config.checkpoint.every = 0.05, "1 epoch", "1 epoch"
    for key, value in changes.items():
        config[key] = value
    return config


def at(epoch):
    """Stops a trial at the first evaluation there or later."""
    return lambda reached: f"stopped at {epoch} epochs" if reached.epochs >= epoch else ""


def trial(folder, prune=lambda _: "", wanted=(ACCURACY, LOSS), config=None):
    with running.output_to(folder / running.OUTPUT):
        return running.run(config or running.ranked_by(small(), "accuracy"), folder, wanted, prune)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """(folder, Ended) of a trial that ran through; what is said against it at its end does not count."""
    folder, seen = tmp_path_factory.mktemp("straight") / "trial-0", []
    ended = trial(folder, lambda reached: seen.append(reached.epochs) or ("late" if reached.last else ""))
    assert seen == [1, 2, 3, 4]
    return folder, ended


def same_bits(a, b):
    """Whether the newest checkpoints of two runs have the same arrays, and the same figures were recorded."""
    x, y = (view.read_arrays(view.find_step(folder)) for folder in (a, b))
    assert x.keys() == y.keys() and len(x) > 4
    lines = [running.past(folder, ["accuracy", "loss"]) for folder in (a, b)]
    return all(np.array_equal(x[name], y[name]) for name in x) and lines[0] == lines[1]


def test_a_pruned_trial_goes_on_from_its_checkpoint_to_the_same_bits(straight, tmp_path):
    pruned = trial(tmp_path / "t", at(2))
    assert (pruned.state, pruned.why, pruned.reached.epochs) == ("pruned", "stopped at 2 epochs", 2)
    assert view.find_step(tmp_path / "t").name == "12" and not same_bits(straight[0], tmp_path / "t")
    again = trial(tmp_path / "t", at(2))  # as of one that was killed while it was pruned: nothing is trained
    assert (again.state, again.reached.epochs, again.reached.history) == ("pruned", 2, pruned.reached.history)
    promoted = trial(tmp_path / "t")
    assert promoted.state == "complete" and same_bits(straight[0], tmp_path / "t")
    assert promoted.reached.history == straight[1].reached.history
    assert promoted.reached.values == straight[1].reached.values


def test_a_trial_is_what_its_records_say_and_looks_at_no_test_picture(straight):
    folder, ended = straight
    lines = running.past(folder, ["accuracy", "loss"])
    assert [step for step, _ in lines] == [6, 12, 18, 24]
    assert ended.reached.history == [[step, figures["accuracy"]] for step, figures in lines]
    assert ended.reached.values == {
        "accuracy": max(figures["accuracy"] for _, figures in lines),
        "loss": min(figures["loss"] for _, figures in lines),
    }
    assert (ended.state, ended.reached.last, ended.reached.epochs) == ("complete", True, 4)
    assert not (folder / "results.json").exists()
    assert {path.name.partition("-")[0] for path in (folder / "eval").iterdir()} == {"validation"}
    assert "step 24/24" in (folder / running.OUTPUT).read_text()


@pytest.mark.slow
def test_a_signal_saves_the_trial_and_it_ends_with_the_same_bits(straight, tmp_path):
    def stop(reached):
        if reached.epochs == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return ""

    ended = trial(tmp_path / "t", stop)
    assert ended.state == "stopped" and "SIGTERM" in ended.why and ended.status == 0
    assert trial(tmp_path / "t").state == "complete" and same_bits(straight[0], tmp_path / "t")


def test_a_loss_that_is_not_finite_fails_the_trial_with_its_line(tmp_path):
    config = small()
    config.schedule.peak = 1e30
    ended = trial(tmp_path / "t", config=config)
    assert ended.state == "failed" and "is not finite at step" in ended.why and "\n" not in ended.why


@pytest.mark.parametrize(
    "error, line",
    [
        (MemoryError(), "the memory of this machine is not enough for a trial at config.batch_size=16"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 7406166528 bytes."), "(6.898 GiB asked for)"),
        (UserError("config.model.name is\nbad"), "config.model.name is bad"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (FileNotFoundError(errno.ENOENT, "No such file", "t.pt"), "t.pt: No such file"),
    ],
)
def test_whatever_a_trial_fails_of_is_one_line(tmp_path, monkeypatch, error, line):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(build, "build", fail)
    ended = trial(tmp_path / "t")
    assert (ended.state, ended.reached) == ("failed", None)
    assert line in ended.why and "\n" not in ended.why


def test_a_full_disk_is_no_fault_of_the_trial(tmp_path, monkeypatch):
    def full(*_, **__):
        raise UserError("can't be written") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(loop, "fit", full)
    with pytest.raises(UserError, match="can't be written"):
        trial(tmp_path / "t")


def test_output_goes_to_the_file_and_comes_back(tmp_path, capfd):
    with running.output_to(tmp_path / "a" / "output.txt"):
        print("of Python")
        os.write(2, b"of a library\n")
    print("after", file=sys.stderr)
    kept = (tmp_path / "a" / "output.txt").read_text()
    assert "of Python" in kept and "of a library" in kept
    out, error = capfd.readouterr()
    assert out == "" and error == "after\n"
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="can't be written"), running.output_to(tmp_path / "file" / "output.txt"):
        pass


def test_costs_are_those_of_the_formulas():
    run = build.build(small())
    figures = objectives.choose(["loss", "multiply_adds", "parameters", "size", "latency"], run)
    assert [figure.best for figure in figures] == ["min"] * 5
    found = objectives.costs([figure.name for figure in figures], run)
    # 3x3 convolutions of 1 -> 2 features at 8x8 and 2 -> 2 at 4x4, dense 8 -> 4 -> 4
    assert found["multiply_adds"] == 9 * 2 * 64 + 9 * 4 * 16 + 8 * 4 + 4 * 4
    assert found["parameters"] == (9 * 1 + 1) * 2 + (9 * 2 + 1) * 2 + (8 + 1) * 4 + (4 + 1) * 4
    assert found["size"] == pytest.approx(4 * found["parameters"] / 1e6)
    assert 0 < found["latency"] < 1000 and "loss" not in found


@pytest.mark.parametrize(
    "names, message",
    [
        (["acuracy"], "this run has no 'acuracy'; did you mean 'accuracy'?"),
        (["zzz"], "no 'zzz'; there are accuracy, balanced_accuracy, loss, multiply_adds, parameters, size, latency"),
        (["accuracy", "loss", "accuracy"], "names accuracy twice"),
        (["latency"], "the first one is a figure of validation (accuracy, balanced_accuracy, loss); costs follow"),
        ([], "the first one is a figure of validation"),
    ],
)
def test_objectives_that_a_run_does_not_have_are_one_line(names, message):
    with pytest.raises(UserError) as raised:
        objectives.choose(names, build.build(small()))
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_without_validation_there_is_nothing_to_choose_by():
    config = small()
    config.data.validation = 0.0
    with pytest.raises(UserError, match="set config.data.validation=0.1"):
        objectives.choose(["accuracy"], build.build(config))


@given(st.lists(st.floats(allow_nan=False)))
def test_best_is_the_end_of_the_sorted_values(values):
    ordered = sorted(values) or [None]
    assert objectives.best(values, LOSS) == ordered[0] and objectives.best(values, ACCURACY) == ordered[-1]
