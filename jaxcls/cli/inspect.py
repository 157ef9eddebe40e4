"""Shows what a checkpoint holds, compares two, and verifies files, on any machine and without the model's code.

    jaxcls inspect runs/cifar10                   # steps, tensors, config, metrics, classes
    jaxcls inspect runs/cifar10 --step 500 --stats --filter '^params/.*kernel$'
    jaxcls inspect runs/cifar10 --step 500 --diff 1000          # two steps of one run
    jaxcls inspect runs/cifar10 --diff runs/other               # the newest steps of two runs
    jaxcls inspect runs/cifar10 --verify                        # every kept step, or the one of --step

RUN is a workdir or the folder of one step. Arrays are read for --stats and --diff only. Exit status: 0; 1 where --diff
finds a tensor that differs (a config or metric that differs does not count) or --verify a step that is not as it was
written: a file or folder that is changed, missing, added, unreadable or a link, no manifest, or that of another step; 2
where there is nothing to look at, or the one step asked for has no readable manifest. Steps that were being written are
named and skipped. A digest tells of accidents, not of someone who rewrites the manifest too.
"""

import argparse
import json
import re
from pathlib import Path

from jaxcls.cli import devices
from jaxcls.cli.arguments import add_run, expanded


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add_run(parser, "the newest finished one")
    parser.add_argument("--stats", action="store_true", help="mean, std, min, max, norm and non-finite count by tensor")
    text = "compare with a step of the same workdir, or with another path"
    parser.add_argument("--diff", type=expanded, metavar="OTHER", help=text)
    parser.add_argument("--tree", action="store_true", help="tensors as a tree, with the sums of every branch")
    parser.add_argument("--config", action="store_true", help="the config alone, as JSON")
    parser.add_argument("--verify", action="store_true", help="check every file of every step, and nothing else")
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

    status = 0
    if args.verify:
        report = overview.verify(args.run, args.step)
        print(json.dumps(report, indent=2) if args.json else overview_text.verify(report))
        return int(bool(report["problems"]))
    step_dir = view.find_step(args.run, args.step)
    if args.config:
        report = {**overview.place(step_dir), "config": dict(view.read_meta(step_dir).config)}
        text = json.dumps(report["config"], indent=2)
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
