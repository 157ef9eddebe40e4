"""Command line: `python -m jaxcls.main --config=configs/lenet5_digits.py [--workdir=DIR] [--mode=train|eval|check]`.

Any key of the config can be set: `--config.batch_size=256 --config.schedule.peak=0.2`. `--config=FILE:tiny` is a trial
of a config that takes seconds to minutes. `jaxcls train`, `eval` and `check` do the same, beside the other verbs.
"""

import argparse
import sys
from collections.abc import Sequence

from jaxcls.cli import devices, run_config
from jaxcls.cli.arguments import Parser, add_allow_changed, count, take_settings
from jaxcls.cli.entry import entry_point
from jaxcls.training import deadline


def main(argv: Sequence[str] | None = None) -> None:
    """Runs what the command line asks for.

    Args:
      argv: arguments, without the program's name; None for those of the process.

    Raises:
      UserError: a mistake on the command line, in the config or in the data.
      Stopped: SIGTERM, Ctrl-C or --max-time during training, once the state is saved.
    """
    args = parse(sys.argv[1:] if argv is None else argv)
    moment = deadline.after(args.max_time)
    config, workdir = run_config.read(args.config, args.workdir, args.settings)
    devices.set_up(args)
    if args.mode == "train":
        from jaxcls.training import loop

        loop.run(config, workdir, allow_changed=args.allow_changed_data, deadline=moment)
    elif args.mode == "eval":
        from jaxcls.training import evaluate, evaluate_run

        if evaluate_run.elsewhere(config, workdir, step=args.step) is None:
            evaluate.run(config, workdir, step=args.step, allow_changed=args.allow_changed_data)
    else:
        from jaxcls.cli.check import check

        check(config, workdir, allow_changed=args.allow_changed_data)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments; `settings` are the (key, text) pairs of `--config.key=text`, in order.

    Raises:
      UserError: for an argument that does not exist (the nearest is named) or has no such value.
    """
    parser = Parser(prog="python -m jaxcls.main", description=__doc__)
    parser.add_argument("--config", metavar="FILE", help="config file; default: that of an earlier run in --workdir")
    parser.add_argument("--workdir", metavar="DIR", help="for checkpoints, logs, results; default runs/<config name>")
    parser.add_argument(
        "--mode", default="train", choices=["train", "eval", "check"],
        help="train (or go on with a run), evaluate a checkpoint, or only look whether all is well",
    )  # fmt: skip
    parser.add_argument(
        "--step", type=count, help="with --mode=eval: the checkpoint; default the best one, else the newest"
    )
    parser.add_argument("--max-time", metavar="TIME", help="with --mode=train: stop after 3h, 90m, 2d, as by SIGTERM")
    add_allow_changed(parser)
    devices.add_processes(parser)
    settings, rest = take_settings(argv)
    args = parser.parse_args(rest)
    args.settings = settings
    return args


def cli(argv: Sequence[str] | None = None) -> None:
    """Entry point: whatever a user can cause ends in a line on stderr and a status.

    0: done, or stopped by SIGTERM with the state saved. 2: a UserError. 130: Ctrl-C.
    """
    if status := entry_point(main)(argv):
        sys.exit(status)


if __name__ == "__main__":
    cli()
