"""Runs a ladder of configs, one trick a rung, with several seeds, and writes what each step is worth.

    jaxcls ablate fashion_small                           # 3 seeds, into runs/fashion_small
    jaxcls ablate fashion_small --list                    # the rungs and what each changes
    jaxcls ablate fashion_small --tiny --seeds 1          # a trial, into runs/fashion_small-tiny
    jaxcls ablate my_ladder.py --config.data.dir=DIR --workdir runs/mine

The table is written anew after every run: ladder.md, ladder.csv, ladder.json, ladder.png and ladder.svg in the workdir.
Every run is an ordinary one, in WORKDIR/RUNG/seed-N. The same command goes on where it was stopped: Ctrl-C (or SIGTERM)
saves the run under way, a second Ctrl-C ends at once. --config.key=value sets a key of all rungs.
Exit status: 0, also where runs failed (they are in the table); 2 where the ladder cannot work, 130 after Ctrl-C.
"""

import argparse
from pathlib import Path

from jaxcls.cli import devices
from jaxcls.cli.arguments import add_data, expanded, positive
from jaxcls.errors import UserError

SETTINGS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    text = "a file with get_ladder(arg), or its name; LADDER:arg"
    parser.add_argument("ladder", type=expanded, metavar="LADDER", help=text)
    add_data(parser)
    parser.add_argument("--seeds", type=positive, default=3, metavar="N", help="of each rung (default %(default)s)")
    parser.add_argument("--workdir", type=expanded, metavar="DIR", help="default: runs/<name of the ladder>")
    parser.add_argument("--tiny", action="store_true", help="a trial of seconds a run: LADDER:tiny")
    parser.add_argument("--list", action="store_true", help="show the rungs, run nothing")


def run(args: argparse.Namespace) -> None:
    """Runs or lists."""
    if args.tiny and ":" in args.ladder:
        raise UserError("--tiny stands for LADDER:tiny; give one argument of the ladder, not two.")
    from jaxcls.ablate import ladder

    file, colon, arg = (f"{args.ladder}:tiny" if args.tiny else args.ladder).partition(":")
    rungs = ladder.load(file + colon + arg, args.settings)
    if args.list:
        print("\n".join(ladder.listed(rungs)))
        return
    name = "-".join([Path(file).stem, *([Path(arg).stem] if arg else [])])
    workdir = args.workdir or f"runs/{name}"
    devices.cpu_only()  # this process only counts
    from jaxcls.ablate import running, table

    report = running.run(rungs, workdir, args.seeds, note=lambda line: print(line, flush=True))
    print(f"\n{table.markdown(report)}\nwritten to {workdir}/ladder.md, .csv, .json, .png and .svg")
