"""Runs the command line in processes of its own, as a user would, and reads what it left."""

import dataclasses
import os
import re
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


# The command without curves and report, which have tests of their own and take a third of a short run.
PLAIN = """
from jaxcls import main
from jaxcls.report import curves, of_run

curves.write_curves, of_run.write = lambda workdir, *_: [workdir], lambda *_, **__: None
main.cli()
"""


def changed(run, **training):
    """A built run whose training has other values."""
    return dataclasses.replace(run, training=dataclasses.replace(run.training, **training))


def start(workdir, *arguments, devices=1, report=True, program=PLAIN, within=(), **options):
    """A started `python -m jaxcls.main`, or without a report `program`; output in `<workdir>.log`. `within`: the words
    of a command that runs it somewhere."""
    flags = re.sub(r"(device_count)=\d+", rf"\1={devices}", os.environ["XLA_FLAGS"])
    environment = {**os.environ, "XLA_FLAGS": flags, "PYTHONUNBUFFERED": "1"}
    log = open(f"{workdir}.log", "a")  # noqa: SIM115  the process keeps it
    started = ["-m", "jaxcls.main"] if report else ["-c", program]
    command = [*within, sys.executable, *started, *BASE, f"--workdir={workdir}", *arguments]
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=ROOT, **options)


def finish(process, workdir, timeout=240):
    """Waits for the end of a run; its output if it failed."""
    assert process.wait(timeout) == 0, Path(f"{workdir}.log").read_text()


def final_arrays(workdir):
    """Name -> array of the newest checkpoint."""
    return view.read_arrays(view.find_step(workdir))
