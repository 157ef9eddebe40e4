"""Looks whether a run could begin, and trains nothing: config, every picture's header, model, schedule, disk.

    jaxcls check --config=folder --data=pictures --workdir=runs/mine

It takes the arguments of jaxcls train. Seconds; exit status 2 and a line for each problem where there are some. All
pictures of a split are decoded where that takes less than ten seconds; else a line says how many were only looked at,
and --full decodes them. Nothing is written.
"""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcls.cli import devices, run_config
from jaxcls.cli.train import shared as train_arguments

if TYPE_CHECKING:
    from ml_collections import ConfigDict

SETTINGS = True
SECONDS = 10.0  # for decoding the pictures of a split


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    train_arguments(parser)
    parser.add_argument("--full", action="store_true", help="decode every picture, however long that takes")


def run(args: argparse.Namespace) -> None:
    """Checks."""
    config, workdir = run_config.read(args.config, args.workdir, args.settings)
    devices.set_up(args)
    check(config, workdir, allow_changed=args.allow_changed_data, full=args.full)


def check(config: "ConfigDict", workdir: str | Path, *, allow_changed: bool = False, full: bool = False) -> None:
    """Raises UserError with a line for each thing that stands against a run; `full` decodes every picture."""
    from jaxcls.data.cleaning.progress import Progress
    from jaxcls.training import build, extending, fitting, lock, preflight

    run = build.build(
        extending.settled(fitting.taken(config, workdir), workdir), workdir=workdir, allow_changed=allow_changed
    )
    seconds, progress = (math.inf if full else SECONDS), Progress("decoded", "pictures")
    preflight.check(run, workdir, note=print, seconds=seconds, progress=progress)
    if line := lock.in_use(workdir):
        print(f"note: {line}")
    print("ready: nothing stands against this run")
