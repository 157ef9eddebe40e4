"""Shows what a checkpoint holds, compares two, and verifies files, on any machine and without the model's code.

    jaxcls inspect runs/cifar10                   # steps, tensors, config, metrics, classes
    jaxcls inspect runs/cifar10 --step 500 --stats --filter '^params/.*kernel$'
    jaxcls inspect runs/cifar10 --step 500 --diff 1000          # two steps of one run
    jaxcls inspect runs/cifar10 --diff runs/other               # the newest steps of two runs
    jaxcls inspect runs/cifar10 --verify

RUN is a workdir or the folder of one step. Arrays are read for --stats and --diff only. Exit status: 0; 1 where --diff
finds a tensor that differs (a config or metric that differs does not count) or --verify a damaged file; 2 where
something is missing or cannot be read.
"""

import argparse
import json
import re
from pathlib import Path

from jaxcls.cli import devices
from jaxcls.cli.arguments import add_run


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add_run(parser, "the newest finished one")
    parser.add_argument("--stats", action="store_true", help="mean, std, min, max, norm and non-finite count by tensor")
    parser.add_argument("--diff", metavar="OTHER", help="compare with a step of the same workdir, or with another path")
    parser.add_argument("--tree", action="store_true", help="tensors as a tree, with the sums of every branch")
    parser.add_argument("--config", action="store_true", help="the config alone, as JSON")
    parser.add_argument("--verify", action="store_true", help="check the SHA-256 of every file, and nothing else")
    parser.add_argument(
        "--filter", type=pattern, default="", metavar="REGEX", help="only tensors with names where this is found"
    )
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")


def pattern(text: str) -> str:
    """A regular expression."""
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression ({error})") from error
    return text


def run(args: argparse.Namespace) -> int:
    """Shows."""
    if not args.config and not args.verify:  # they are instant
        devices.cpu_only()
    from jaxcls.checkpoints import overview, overview_text, view

    step_dir, status = view.find_step(args.run, args.step), 0
    if args.config:
        report = {**overview.place(step_dir), "config": dict(view.read_meta(step_dir).config)}
        text = json.dumps(report["config"], indent=2)
    elif args.verify:
        report = {**overview.place(step_dir), "problems": view.verify(step_dir)}
        status = int(bool(report["problems"]))
        text = "\n".join(report["problems"] or [f"{step_dir}: every file is as written"])
    elif args.diff is not None:
        report = overview.compare(step_dir, find_other(args.diff, step_dir), args.filter)
        status, text = int(not report["identical"]), overview_text.compare(report)
    else:
        report = overview.describe(step_dir, args.filter, stats=args.stats)
        text = overview_text.describe(report, tree=args.tree)
    print(json.dumps(overview_text.strict(report), indent=2, allow_nan=False) if args.json else text)
    return status


def find_other(text: str, step_dir: Path) -> Path:
    """The step that --diff means: a number is a step of the same workdir unless a folder has that name."""
    from jaxcls.checkpoints import view

    if text.isdigit() and not Path(text).is_dir():
        return view.find_step(step_dir.parent.parent, int(text))
    return view.find_step(text)
