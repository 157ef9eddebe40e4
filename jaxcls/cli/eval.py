"""Evaluates a checkpoint of a run on validation and test, every picture once, and writes the report.

    jaxcls eval runs/mine                                 # the best checkpoint, the newest where none is best
    jaxcls eval runs/mine --step=1140
    jaxcls eval runs/mine --config.eval.tta=flip          # views averaged; the run's own figures stay

The logits go to RUN/eval; every figure, the report and the comparison of runs is computed from there.
"""

import argparse

from jaxcls.cli import devices, run_config
from jaxcls.cli.arguments import add_run

SETTINGS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add_run(parser)
    parser.add_argument("--config", metavar="CONFIG", help="in place of the one that the run has stored")
    devices.add_processes(parser)


def run(args: argparse.Namespace) -> None:
    """Evaluates."""
    config, workdir = run_config.read(args.config, args.run, args.settings)
    devices.set_up(args)
    from jaxcls.training import evaluate

    evaluate.run(config, workdir, step=args.step)
