"""A finished run that gets a longer duration: as one planned so long where the schedule lets it, else from its rate."""

import json

import jax
import numpy as np
import pytest
import runs

from jaxcls.cli import command
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.logs.records import read_metrics
from jaxcls.settings.reader import Reader
from jaxcls.training import extending, loop, recipe

EPOCH = 6  # steps
EXACT = {
    "constant": {},
    "step": {"every": "2 epochs"},
    "multi_step": {"milestones": ("1 epoch", "15 steps")},
    "exponential": {"every": "1 epoch"},
    "sgdr": {"every": "1 epoch", "mult": 2},
}
SHAPED = {
    "cosine": {"final": 0.02},
    "cosine_7_16": {},
    "linear": {"final": 0.01},
    "polynomial": {"final": 0.01},
    "trapezoid": {"final": 0.01},
    "one_cycle": {"final_div_factor": 1.0},
    "multi_step": {"milestones": ("50%", "75%")},
}


def small(**changes):
    """LeNet-5 on 96 synthetic pictures, 5 batches an epoch; `changes` are flat keys."""
    config = default_config()
    config.data.name = "synthetic/96x28x1x3"
    config.duration, config.batch_size, config.log_every = "2 epochs", 16, "5 steps"
    config.schedule.name, config.schedule.peak = "constant", 0.02
    config.update_from_flattened_dict(changes)
    return config


def rates(extended=(), total=24, planned=24, **keys):
    """The rate at every step of a run of 24 steps, or of `extended`."""
    config = default_config()
    config.duration, config.extended, config.schedule.peak = f"{total} steps", extended, 0.1
    config.schedule.update(keys)
    rate, _ = recipe.schedule(Reader(config), planned, EPOCH)
    return np.array(jax.vmap(rate)(np.arange(total)))


@pytest.mark.parametrize("name", EXACT)
def test_schedules_of_steps_alone_extend_exactly(name):
    keys = {"name": name, "warmup": "3 steps", **EXACT[name]}
    np.testing.assert_array_equal(rates(("12 steps",), planned=12, **keys), rates(**keys))
    np.testing.assert_array_equal(rates(("12 steps", "18 steps"), planned=12, **keys), rates(**keys))


@pytest.mark.parametrize("name", SHAPED)
def test_others_keep_their_past_and_go_on_from_their_rate(name):
    keys = {"name": name, **SHAPED[name]}
    past, whole = rates(total=12, planned=12, **keys), rates(("12 steps",), planned=12, **keys)
    np.testing.assert_array_equal(whole[:12], past)
    np.testing.assert_allclose(whole[12], past[11], rtol=0.01)
    assert (np.diff(whole[12:]) <= 1e-9).all()
    given = rates(("12 steps: 0.05",), planned=12, **keys)
    np.testing.assert_array_equal(given[:12], past)
    np.testing.assert_allclose(given[12], 0.05, rtol=1e-6)


def test_the_rest_of_a_cosine_is_one():
    """The formula of SGDR, from the given rate to the last one in the steps that are left."""
    found = rates(("12 steps: 0.05",), planned=12, name="cosine", final=0.001)[12:]
    np.testing.assert_allclose(found, 0.001 + 0.049 * (1 + np.cos(np.pi * np.arange(12) / 12)) / 2, rtol=1e-5)


def test_a_rate_of_nothing_is_refused_with_the_ways():
    with pytest.raises(UserError, match=r"down to 4e-07 at step 12.*--config.schedule.rest=0.05.*--from"):
        rates(("12 steps",), planned=12, name="one_cycle")
    with pytest.raises(UserError, match="--config.schedule.rest"):
        rates(("120 steps",), total=240, planned=120, name="cosine")


def test_an_extended_run_is_one_planned_so_long(tmp_path):
    """Every array, the losses, the evaluations, the order of the pictures: with an average and a followed figure."""
    more = {
        "ema_decay": 0.9, "plateau.figure": "loss", "plateau.patience": 0, "schedule.name": "multi_step",
        "schedule.milestones": ("1 epoch", "3 epochs"), "optim.lookahead": 2, "data.augment": ("flip",),
    }  # fmt: skip
    loop.run(small(duration="4 epochs", **more), tmp_path / "planned")
    first = loop.run(small(**more), tmp_path / "run")
    found = loop.run(small(duration="4 epochs", **more), tmp_path / "run")
    same = [runs.final_arrays(tmp_path / name) for name in ("planned", "run")]
    assert same[0].keys() == same[1].keys()
    assert not [name for name in same[0] if same[0][name].tobytes() != same[1][name].tobytes()]
    lines = [
        [(x["step"], x["split"], x["loss"]) for x in read_metrics(tmp_path / name) if x["split"] != "test"]
        for name in ("planned", "run")
    ]
    assert lines[0] == lines[1]
    results = [(tmp_path / name / "results.json").read_text() for name in ("planned", "run")]
    assert results[0] == results[1]
    told = json.loads((tmp_path / "run" / extending.FILE).read_text())
    assert (told["step"], told["duration"], told["then"]) == (10, "2 epochs", "4 epochs")
    assert told["results"] == json.loads(json.dumps(first))
    stored = json.loads((tmp_path / "run/config.json").read_text())
    assert (stored["duration"], stored["extended"]) == ("4 epochs", ["10 steps"])
    assert loop.run(small(duration="4 epochs", **more), tmp_path / "run") == found  # again: nothing is trained
    assert len((tmp_path / "run" / extending.FILE).read_text().splitlines()) == 1


def test_by_the_command_line_with_a_rate(tmp_path, capsys):
    run = ["train", f"--workdir={tmp_path}"]
    loop.run(small(**{"schedule.name": "cosine", "schedule.final": 0.0, "duration": "20 steps"}), tmp_path)
    again = [*run, "--config.duration=30 steps", "--config.schedule.rest=0.01"]
    assert command.main(again) == 0
    out = capsys.readouterr().out
    assert "extended from 20 steps to 30 steps" in out and "goes on with a rate of 0.01" in out
    assert command.main(again) == 0 and "all steps are done" in capsys.readouterr().out
    assert json.loads((tmp_path / "config.json").read_text())["extended"] == ["20 steps: 0.01"]
    for words, message in (
        ([*run, "--config.duration=10 steps"], "the run has done 30: it can only become longer"),
        ([*run, "--config.duration=40 steps", "--config.model.name=resnet18"], "another config: config.duration"),
        ([*run, "--config.duration=40 steps", "--config.seed=1"], "config.seed is 0 there and 1 now"),
        ([*run, "--config.schedule.rest=0.02"], "config.schedule.rest"),
    ):
        assert command.main(words) == 2
        assert message in capsys.readouterr().err


def test_only_a_run_at_its_end_is_made_longer(tmp_path, capsys):
    with pytest.raises(Exception, match="stopped after step 5"):
        loop.run(small(), tmp_path, follow=lambda step, figures: "enough")
    assert command.main(["train", f"--workdir={tmp_path}", "--config.duration=4 epochs"]) == 2
    assert "has done 5 of its 10 steps" in (error := capsys.readouterr().err) and "--from" in error
