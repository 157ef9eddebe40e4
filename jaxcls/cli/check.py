"""Looks whether a run could begin, and trains nothing: config, every picture's header, model, schedule, disk.

    jaxcls check --config=finetune --data=pictures --workdir=runs/mine

It takes the arguments of jaxcls train. Seconds; exit status 2 and a line for each problem where there are some.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcls.cli import devices, run_config
from jaxcls.cli.train import arguments as arguments

if TYPE_CHECKING:
    from ml_collections import ConfigDict

SETTINGS = True


def run(args: argparse.Namespace) -> None:
    """Checks."""
    config, workdir = run_config.read(args.config, args.workdir, args.settings)
    devices.set_up(args)
    check(config, workdir, allow_changed=args.allow_changed_data)


def check(config: "ConfigDict", workdir: str | Path, *, allow_changed: bool = False) -> None:
    """Raises UserError with a line for each thing that stands against a run."""
    from jaxcls.training import build, preflight

    run = build.build(config, workdir=workdir, allow_changed=allow_changed)
    preflight.check(run, workdir, note=print, full=True)
    print("ready: nothing stands against this run")
