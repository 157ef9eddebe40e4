"""The loop end to end, in this process: what is logged, which checkpoint counts, what evaluation repeats."""

import io
import json
import re

import jax
import numpy as np
import pytest
import rich.console
import rich.live
from sklearn.metrics import balanced_accuracy_score, log_loss

from jaxcls import metrics
from jaxcls.checkpoints.view import list_steps
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.logs import logger
from jaxcls.logs.records import read_metrics
from jaxcls.training import build, evaluate, loop


def small_config(**changes):
    """LeNet-5 on 96 synthetic pictures of 28x28 in 3 classes; `changes` are flat keys."""
    config = default_config()
    config.data.name = "synthetic/96x28x1x3"
    config.duration, config.batch_size, config.log_every = "24 steps", 16, "4 steps"
    config.eval.every = config.checkpoint.every = "6 steps"
    config.schedule.peak = 0.05
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(workdir, results) of one whole run."""
    workdir = tmp_path_factory.mktemp("run")
    return workdir, loop.run(small_config(), workdir)


@pytest.fixture(scope="module")
def unselected(tmp_path_factory):
    """(workdir, results, what a terminal got, its lengths when something was fetched) of a run without validation."""
    out, fetches, workdir = io.StringIO(), [], tmp_path_factory.mktemp("unselected")

    class Terminal(rich.console.Console):
        def __init__(self):
            super().__init__(file=out, force_terminal=True, width=100)

    device_get = jax.device_get

    def fetch(tree):
        fetches.append(len(out.getvalue()))
        return device_get(tree)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rich.console, "Console", Terminal)
        patch.setattr(logger, "REDRAW_SECONDS", 0.0)
        patch.setattr(jax, "device_get", fetch)
        results = loop.run(small_config(**{"data.validation": 0.0, "duration": "12 steps"}), workdir)
    return workdir, results, out.getvalue(), fetches


def test_a_terminal_shows_every_step_from_the_first_on(unselected):
    """The loss with the first log line, of step 4; until then nothing is fetched from the devices."""
    _, _, text, fetches = unselected
    shown = [int(match[1]) for match in re.finditer(r" (\d+)/12 ", text)]
    assert list(dict.fromkeys(shown)) == list(range(1, 13))
    first, third, fourth = (text.index(f" {step}/12 ") for step in (1, 3, 4))
    assert fourth < text.index("loss ")
    assert not [place for place in fetches if first < place <= third]


def test_every_log_line_has_the_mean_since_the_last_one(finished):
    lines = [x for x in read_metrics(finished[0]) if x["split"] == "train"]
    assert [x["step"] for x in lines] == [4, 6, 8, 12, 16, 18, 20, 24]  # each 4 steps, and whatever saves
    rate = build.build(small_config()).training.learning_rate
    for line in lines:
        assert line["learning_rate"] == pytest.approx(float(rate(line["step"] - 1)))
        assert line["loss"] > 0 and 0 <= line["accuracy"] <= 1


def test_the_best_checkpoint_by_validation_is_the_result(finished):
    workdir, results = finished
    scores = {x["step"]: x["accuracy"] for x in read_metrics(workdir) if x["split"] == "validation"}
    assert sorted(scores) == [6, 12, 18, 24]
    best = max(scores, key=lambda step: (scores[step], step))
    assert results["test"]["step"] == best
    assert [entry.number for entry in list_steps(workdir) if entry.best] == [best]
    assert {18, 24} <= {entry.number for entry in list_steps(workdir)}


def test_evaluations_after_the_first_tell_their_speed(finished):
    lines = [x for x in read_metrics(finished[0]) if x["split"] == "validation"]
    assert ["pictures_per_second" in line for line in lines] == [False, True, True, True]  # the first one compiles


@pytest.mark.parametrize("figure", ["balanced_accuracy", "loss"])
def test_another_figure_may_choose_the_best_checkpoint(tmp_path, figure):
    """As scikit-learn finds it in the stored logits."""
    results = loop.run(small_config(**{"eval.best": figure}), tmp_path)
    scores = {}
    for step in (6, 12, 18, 24):
        with np.load(tmp_path / f"eval/validation-{step}.npz") as stored:
            logits, label = stored["logits"].astype(np.float64), stored["label"]
        if figure == "loss":
            p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            scores[step] = -log_loss(label, p, labels=range(3))
        else:
            scores[step] = balanced_accuracy_score(label, logits.argmax(1))
    assert results["test"]["step"] == max(scores, key=lambda step: (scores[step], step))
    with pytest.raises(UserError, match="another config: config.eval.best"):  # scores of two kinds can't be compared
        loop.run(small_config(), tmp_path)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"eval.best": "balanced"}, "config.eval.best is 'balanced'; did you mean 'balanced_accuracy'?"),
        ({"eval.best": "loss", "data.validation": 0.0}, "config.eval.best has no effect"),
    ],
)
def test_what_cannot_choose_a_checkpoint_is_told_before(changes, message):
    with pytest.raises(UserError) as error:
        build.build(small_config(**changes))
    assert message in str(error.value)


def test_results_come_from_the_stored_logits_of_every_test_picture(finished):
    workdir, results = finished
    with np.load(workdir / "eval" / f"test-{results['test']['step']}.npz") as stored:
        again = metrics.of_logits(stored["logits"], stored["label"])
        assert np.array_equal(stored["index"], np.arange(24))
    on_disk = json.loads((workdir / "results.json").read_text())["test"]
    for name, value in again.items():
        assert on_disk[name] == pytest.approx(value)
    assert on_disk["count"] == 24
    low, high = on_disk["interval"]
    assert low <= on_disk["accuracy"] <= high


def test_evaluation_repeats_the_result(finished, capsys):
    workdir, results = finished
    again = evaluate.run(small_config(), workdir)
    assert again["test"] == pytest.approx({k: results["test"][k] for k in again["test"]})
    assert again["validation"]["count"] == 9
    assert "24 examples" in capsys.readouterr().out


def test_a_finished_run_is_only_evaluated_again(finished, capsys):
    workdir, results = finished
    again = loop.run(small_config(), workdir)["test"]
    assert {k: again[k] for k in ("loss", "accuracy", "step")} == {
        k: results["test"][k] for k in ("loss", "accuracy", "step")
    }
    assert "compiling the training step" not in capsys.readouterr().out


def test_without_validation_the_last_state_is_the_result(unselected):
    workdir, results, *_ = unselected
    assert results["test"]["step"] == 12
    assert not [x for x in read_metrics(workdir) if x["split"] == "validation"]
    assert not [entry for entry in list_steps(workdir) if entry.best]


def test_steps_in_one_call_change_nothing(unselected, tmp_path, monkeypatch):
    """What accelerators do, 5 steps a call with cuts at every boundary, against one call a step."""
    from jaxcls.training import feed

    workdir, whole, *_ = unselected
    plain = feed.MemoryTrainFeed.__init__
    monkeypatch.setattr(
        feed.MemoryTrainFeed, "__init__", lambda self, *args, **kw: plain(self, *args, **{**kw, "length": 5})
    )
    several = loop.run(small_config(**{"data.validation": 0.0, "duration": "12 steps"}), tmp_path)
    assert several["test"]["loss"] == pytest.approx(whole["test"]["loss"], rel=1e-4)
    losses = [[x["loss"] for x in read_metrics(w) if x["split"] == "train"] for w in (workdir, tmp_path)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
