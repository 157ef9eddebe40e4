"""`--from RUN --state`: a branch with no change ends with the parent's bits, others go on by their own schedule."""

import json
import shutil

import numpy as np
import pytest
import runs

from jaxcls.checkpoints import view
from jaxcls.cli import command
from jaxcls.defaults import default_config
from jaxcls.logs.records import read_metrics
from jaxcls.training import branching, loop


def tiny(**changes):
    """A small net with momentum, an average, noise and a plateau, 8 steps; `changes` are flat keys."""
    config = default_config()
    config.data.name, config.data.augment = "synthetic/64x12x1x3", ("crop(12, pad=2)",)
    config.model.name, config.model.fields = "simple_cnn_16_32", {"channels": (3, 4), "hidden": 5}
    config.duration, config.batch_size, config.schedule.peak = "8 steps", 16, 0.1
    config.ema_decay, config.checkpoint.keep = 0.8, 9
    config.plateau.figure, config.plateau.patience = "loss", 1
    config.eval.every = config.checkpoint.every = config.log_every = "2 steps"
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("branch") / "parent"
    loop.run(tiny(), workdir)
    return workdir


def branch(parent, workdir, *words):
    return command.main(["train", f"--from={parent}", "--state", f"--workdir={workdir}", *words])


def test_a_branch_with_no_change_ends_with_the_parents_bits(parent, tmp_path, capsys):
    assert branch(parent, tmp_path / "new", "--step=4") == 0
    assert "going on from step 4 of 8" in capsys.readouterr().out
    left, right = (runs.final_arrays(path) for path in (parent, tmp_path / "new"))
    assert left.keys() == right.keys() and not [n for n in left if left[n].tobytes() != right[n].tobytes()]
    assert any("opt_state" in name for name in left) and any("ema" in name for name in left)
    for file in ("config.json", "results.json", "splits.csv"):
        assert (parent / file).read_bytes() == (tmp_path / "new" / file).read_bytes()
    assert json.loads((tmp_path / "new" / branching.FILE).read_text()) == {"from": str(parent.resolve()), "step": 4}
    assert branch(parent, tmp_path / "new", "--step=4") == 0  # the same command: it has come to its end
    best = view.best_step(tmp_path / "new").name
    assert (tmp_path / f"new/eval/validation-{best}.npz").is_file()


def test_another_rate_begins_at_the_step(parent, tmp_path):
    words = ["--step=6", "--config.schedule.name=constant", "--config.schedule.peak=0.003", "--config.duration=9 steps"]
    assert branch(parent, tmp_path / "new", *words) == 0
    lines = [line for line in read_metrics(tmp_path / "new") if line["split"] == "train"]
    assert [line["step"] for line in lines] == [8, 9]
    np.testing.assert_allclose([line["learning_rate"] for line in lines], 0.003, rtol=1e-6)
    before, after = (view.read_arrays(view.find_step(path, 6)) for path in (parent, tmp_path / "new"))
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)


def test_a_branch_that_was_killed_while_it_was_copied_begins_anew(parent, tmp_path):
    workdir = tmp_path / "new"
    with branching._placed(view.find_step(parent, 4), workdir):
        shutil.copytree(workdir, tmp_path / "killed")
    assert not workdir.exists()  # no run began there
    next((tmp_path / "killed/checkpoints/4").rglob("manifest.ocdbt")).unlink()
    assert branch(parent, tmp_path / "killed", "--step=4") == 0
    assert view.find_step(tmp_path / "killed").name == "8" and not (tmp_path / "killed/damaged").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        (["--config.model.fields.hidden=6"], "of another model: config.model.fields.hidden is 5 there and 6 now"),
        (["--config.optim.name=adam"], "of another optimiser: config.optim.name is 'sgd' there and 'adam' now"),
        (["--config.ema_decay=0"], "of another task: config.ema_decay is 0.8 there and 0.0 now"),
        (["--data=synthetic/64x12x1x4"], "has learned from synthetic/64x12x1x3 and this is synthetic/64x12x1x4"),
        (["--config.duration=4 steps"], "is 4 steps and the state is of step 4: give a longer one, an earlier --step"),
        (["--step=5"], "holds no step 5; it holds 2, 4, 6, 8"),
        (["--folds=3"], "--state goes with --from RUN, whose state one run begins with"),
    ],
)
def test_what_does_not_fit_is_one_line_and_leaves_nothing(parent, tmp_path, capsys, words, message):
    step = [] if "--step=5" in words else ["--step=4"]
    assert branch(parent, tmp_path / "new", *step, *words) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert ("without --state" in error) == ("--state: " in error) and not (tmp_path / "new").exists()


def test_what_is_no_state_to_begin_with(parent, tmp_path, capsys):
    assert command.main(["train", "--state", "--data=digits", f"--workdir={tmp_path}/a"]) == 2
    assert "--state goes with --from RUN" in capsys.readouterr().err
    assert branch(parent, tmp_path / "a") == 2  # the newest: the end
    assert "is of step 8: give a longer one" in capsys.readouterr().err
    shutil.copytree(parent, tmp_path / "bad")
    next((tmp_path / "bad/checkpoints/4").rglob("manifest.ocdbt")).write_bytes(b"x")
    (tmp_path / "bad/manifests/6.json").unlink()
    for step, message in (("4", "is damaged ("), ("6", "is unfinished, the run ended while it was written")):
        assert branch(tmp_path / "bad", tmp_path / "a", f"--step={step}") == 2
        assert message in (error := capsys.readouterr().err) and "give another --step" in error
    assert not (tmp_path / "a").exists()
    (tmp_path / "b/checkpoints").mkdir(parents=True)
    assert branch(parent, tmp_path / "b", "--step=4") == 2
    assert "has checkpoints of a run without config.json" in capsys.readouterr().err
    shutil.copytree(parent, tmp_path / "c")
    assert branch(parent, tmp_path / "c", "--step=4") == 2
    assert "has a run that began with the state of no other one; leave --from out" in capsys.readouterr().err
