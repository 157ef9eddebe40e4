"""Runs the command line in processes of its own, as a user would, and reads what it left."""

import os
import subprocess
import sys
from pathlib import Path

from jaxcls.checkpoints import view

ROOT = Path(__file__).resolve().parents[1]
BASE = [
    f"--config={ROOT}/configs/lenet5_digits.py",
    "--config.data.name=synthetic/256x28x1x4",
    "--config.data.augment=('crop(28, pad=2)',)",
    "--config.data.eval_transform=()",
    "--config.batch_size=16",
    "--config.schedule.warmup=10 steps",
    "--config.log_every=20 steps",
]


def start(workdir, *arguments, devices=1, **options):
    """A started `python -m jaxcls.main`, output in `<workdir>.log`."""
    environment = {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONUNBUFFERED": "1",
    }
    log = open(f"{workdir}.log", "a")  # noqa: SIM115  the process keeps it
    command = [sys.executable, "-m", "jaxcls.main", *BASE, f"--workdir={workdir}", *arguments]
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=ROOT, **options)


def finish(process, workdir, timeout=240):
    """Waits for the end of a run; its output if it failed."""
    assert process.wait(timeout) == 0, Path(f"{workdir}.log").read_text()


def final_arrays(workdir):
    """Name -> array of the newest checkpoint."""
    return view.read_arrays(view.find_step(workdir))
