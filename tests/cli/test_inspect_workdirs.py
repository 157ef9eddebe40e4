"""A whole run under names that Orbax can't take, and in the home folder: trained, verified, gone on with."""

import os
import shutil
import subprocess
import sys

import pytest
import runs

from jaxcls.checkpoints import view


@pytest.mark.slow
@pytest.mark.parametrize("name", ["runs/exp[1]", "~/runs/back\\slash"])
def test_a_run_is_trained_verified_and_gone_on_with(tmp_path, name):
    """`runs/exp[1]` ended with status 0 and checkpoints that nobody could read; `~` became a folder of that name."""
    environment = {**os.environ, "HOME": str(tmp_path / "home"), "PYTHONPATH": str(runs.ROOT)}
    small = ["--config.duration=4 steps", "--config.checkpoint.every=1 step", "--config.schedule.warmup=0 steps"]

    def call(*words):
        command = [sys.executable, "-m", "jaxcls", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    train = ["train", *(word for word in runs.BASE if "warmup" not in word), *small, f"--workdir={name}"]
    call(*train)
    workdir = tmp_path / name.replace("~", "home")
    assert {path.name for path in tmp_path.iterdir()} <= {"home", "runs"} and (workdir / "results.json").is_file()
    assert "step 4 (newest" in call("inspect", name, "--verify")
    before = runs.final_arrays(workdir)
    shutil.rmtree(workdir / "checkpoints" / "4")
    view.manifest_path(workdir / "checkpoints" / "4").unlink()
    assert "going on from step 3 of 4" in call(*train)
    after = runs.final_arrays(workdir)
    assert all(before[key].tobytes() == after[key].tobytes() for key in before)
