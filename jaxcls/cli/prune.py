"""Takes away the channels of a run that matter least: a smaller net, as a run of its own.

    jaxcls prune runs/mine --ratio 0.5 --out runs/half                 # half of the channels of each group
    jaxcls prune runs/mine --macs 0.3 --scope global --out runs/small  # the least important of all, to 30 % of the work
    jaxcls prune runs/mine --latency 2.5 --out runs/fast               # to 2.5 ms a picture in ONNX Runtime, one core
    jaxcls prune runs/mine --ratio 0.5 --out runs/half --finetune "5 epochs" --distill

`jaxcls train --workdir runs/half` then fine-tunes it. Which channels go together follows from the traced net. The new
run begins at step 0 with what is kept of the weights: it can be evaluated, trained on, exported, pruned again as any
other (docs/compress.md). --rounds N takes away a part, fine-tunes, takes away the next, and so on; the runs between lie
in OUT.round1, OUT.round2, .. --config.KEY=VALUE sets a key of the new run's config, as --config.schedule.peak=0.01.

Exit status: 0; 2 where an option or a run can't be used, or a target can't be met; nothing is written then.
"""

import argparse
import os
from pathlib import Path
from typing import Any

from jaxcls.cli import devices, run_config
from jaxcls.cli.arguments import add_data, add_run, expanded, positive
from jaxcls.errors import UserError

SETTINGS = True
OPTIONS = ("ratio", "macs", "params", "importance", "scope", "floor", "multiple")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add_run(parser, "the best one, or the newest where none is best")
    parser.add_argument("--out", type=expanded, required=True, metavar="DIR", help="the new workdir")
    add_data(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--ratio", type=float, metavar="SHARE", help="of the channels that go")
    how.add_argument("--macs", type=float, metavar="SHARE", help="of the multiply-adds that may stay")
    how.add_argument("--params", type=float, metavar="SHARE", help="of the parameters that may stay")
    how.add_argument("--latency", type=float, metavar="MS", help="CPU milliseconds of a picture in ONNX Runtime")
    text = "l1 (default), l2, bn, taylor, random (the control)"
    parser.add_argument("--importance", metavar="NAME", help=text)
    parser.add_argument("--scope", metavar="NAME", help="local (default): the ratio of each group; global: of all")
    parser.add_argument("--floor", type=float, metavar="SHARE", help="a group keeps at least this (default 0)")
    parser.add_argument("--multiple", type=positive, metavar="N", help="channels are rounded up to it (default 8)")
    text = "layers that stay whole, a regular expression; repeatable"
    parser.add_argument("--keep", action="append", default=[], metavar="REGEX", help=text)
    parser.add_argument("--finetune", metavar="TIME", help='duration of the new run, as "5 epochs" (default: its old)')
    parser.add_argument("--distill", action="store_true", help="RUN teaches the new run")
    text = "prune and fine-tune so often, a part each time (default 1)"
    parser.add_argument("--rounds", type=positive, default=1, metavar="N", help=text)


def run(args: argparse.Namespace) -> None:
    """Prunes, and says what to type next."""
    if args.rounds > 1 and args.latency:
        raise UserError("--rounds goes with --ratio, --macs and --params; leave --latency out.")
    devices.set_up()
    from jaxcls.export import speed
    from jaxcls.training import loop, prune_run, pruning

    source = args.run if args.step is None else os.path.join(args.run, "checkpoints", str(args.step))
    for number in range(1, args.rounds + 1):
        last = number == args.rounds
        out = args.out if last else f"{args.out}.round{number}"
        config = configured(args, number)
        start = args.run if args.rounds > 1 else ""
        try:
            prune_run.prune(config, source, out, start=start, latency=args.latency or 0.0, measure=speed.milliseconds)
        except pruning.NothingGoes:
            if last:
                raise
            continue  # its share of the channels is less than a multiple: the next one takes both
        if not last:
            loop.run(run_config.read(None, out)[0], out)
            source = out
    print(f"written: {args.out}")
    print(f"fine-tune it: jaxcls train --workdir {args.out}; evaluate it: jaxcls eval {args.out}")


def configured(args: argparse.Namespace, number: int = 1) -> Any:
    """The config of a new run, that of a round by its number: the old one's, with what the options say."""
    from jaxcls.settings.reader import resolve

    made, _ = run_config.read(None, str(workdir(args.run)), args.settings)
    config = resolve(made)
    for key in OPTIONS:
        if (value := getattr(args, key)) is not None:
            config.prune[key] = share(key, value, number / args.rounds)
    if args.keep:
        config.prune.keep = tuple(args.keep)
    if args.finetune:
        config.duration = args.finetune
    if args.distill:
        config.distill.teacher = args.run
    return config


def share(key: str, value: float, done: float) -> float:
    """An option after this share of the rounds, counted from what there was before the first."""
    if done == 1 or key not in ("ratio", "macs", "params"):
        return value
    stay = max(1 - value if key == "ratio" else value, 0.0) ** done
    return 1 - stay if key == "ratio" else stay


def workdir(run: str) -> Path:
    """Of a run, or of the folder of one of its steps."""
    from jaxcls.checkpoints import view

    return view.best_step(run).parents[1]
