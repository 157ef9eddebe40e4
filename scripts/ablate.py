"""Runs a ladder of configs, one trick a rung, with several seeds, and writes what each step is worth.

    python scripts/ablate.py configs/ladders/fashion_small.py                 # 3 seeds, into runs/fashion_small
    python scripts/ablate.py configs/ladders/fashion_small.py --list          # the rungs and what each changes
    python scripts/ablate.py configs/ladders/fashion_small.py --tiny --seeds 1   # a trial, into runs/fashion_small-tiny
    python scripts/ablate.py configs/ladders/cifar100_resnet18.py --config.data.dir=DIR --workdir runs/mine

The table is written anew after every run: ladder.md, ladder.csv, ladder.json, ladder.png and ladder.svg in the workdir.
Every run is an ordinary one, in WORKDIR/RUNG/seed-N. The same command goes on where it was stopped: Ctrl-C (or SIGTERM)
saves the run under way, a second Ctrl-C ends at once. --config.key=value sets a key of all rungs.
Exit status: 0, also where runs failed (they are in the table); 2 where the ladder cannot work, 130 after Ctrl-C.
"""

import argparse
import sys
from pathlib import Path

from jaxcls.ablate import ladder
from jaxcls.cli.entry import entry_point
from jaxcls.main import take_settings
from jaxcls.training import signals


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    try:
        with signals.ending_at_once():
            args = parse(sys.argv[1:] if argv is None else argv)
            return _run(args)
    except signals.Stopped as stopped:
        print(f"{stopped}. The same command goes on from there.", flush=True)
        return stopped.status


def parse(argv):
    """The arguments; `settings` are the (key, text) pairs of `--config.key=text`. Raises UserError for such without."""
    settings, rest = take_settings(argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ladder", metavar="LADDER", help="a file with get_ladder(arg), or FILE:arg")
    parser.add_argument("--seeds", type=int, default=3, help="how many runs of each rung (default %(default)s)")
    parser.add_argument("--workdir", metavar="DIR", help="default: runs/<name of the ladder>")
    parser.add_argument("--tiny", action="store_true", help="a trial of seconds a run: LADDER:tiny")
    parser.add_argument("--list", action="store_true", help="show the rungs, run nothing")
    args = parser.parse_args(rest)
    if args.seeds < 1:
        parser.error("--seeds must be at least 1")
    if args.tiny and ":" in args.ladder:
        parser.error("--tiny stands for LADDER:tiny; give one argument of the ladder, not two")
    args.settings = settings
    return args


def _run(args):
    file, colon, arg = (f"{args.ladder}:tiny" if args.tiny else args.ladder).partition(":")
    rungs = ladder.load(file + colon + arg, args.settings)
    if args.list:
        print("\n".join(listed(rungs)))
        return 0
    name = "-".join([Path(file).stem, *([Path(arg).stem] if arg else [])])
    workdir = args.workdir or f"runs/{name}"
    import jax

    jax.config.update("jax_platforms", "cpu")  # this process only counts: a GPU's memory is for the runs
    from jaxcls.ablate import running, table

    report = running.run(rungs, workdir, args.seeds, note=lambda line: print(line, flush=True))
    print(f"\n{table.markdown(report)}\nwritten to {workdir}/ladder.md, .csv, .json, .png and .svg")
    return 0


def listed(rungs):
    """Lines that show the rungs and what each changes."""
    for rung in rungs:
        against = f"  (against {rung.against})" if rung.against else ""
        yield f"{rung.name}{against}"
        for key, (old, new) in ladder.changes(rung, rungs).items():
            yield f"    {key}: {ladder.text(old)} -> {ladder.text(new)}"


if __name__ == "__main__":
    sys.exit(main())
