"""Writes the report of a run anew: report.html in its workdir, one file that needs nothing else to be opened.

    python scripts/report.py runs/digits
    python scripts/report.py runs/digits --step 500 --split validation
    python scripts/report.py runs/digits --no-pictures      # from the stored logits alone: neither data nor model

Training and --mode=eval write it at their end; this is for reports of older runs, of other steps, after
scripts/calibrate.py has stored thresholds, or on another machine. Where the data can't be opened the page says so and
leaves the pictures out. Nothing is evaluated: what it shows was stored by --mode=train or --mode=eval.
Exit status: 0; 2 where the workdir holds no run, or the evaluation asked for is not there.
"""

import argparse
import sys
from pathlib import Path

from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    print(write(args))
    return 0


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path, help="folder of the run")
    parser.add_argument("--step", type=int, help="default: that of the run's result")
    parser.add_argument("--split", choices=["test", "validation"], help="default: test where it was evaluated")
    parser.add_argument("--no-pictures", action="store_true", help="leave out pictures, heat maps and multiply-adds")
    return parser.parse_args(argv)


def write(args) -> Path:
    """Writes the page and returns its path."""
    from jaxcls.report import evidence, page

    found = evidence.read(args.workdir, args.split, args.step)  # says what is wrong before the data is opened
    pictures, why_not = None, "they were not asked for"
    if not args.no_pictures and found.measured:
        try:
            pictures = open_pictures(args.workdir, found.step)
        except UserError as error:
            why_not = " ".join(str(error).split())
            note(f"the pictures are left out: {why_not}")
    return page.write_report(
        args.workdir, found.step, found.split or None, pictures=pictures, why_not=why_not, note=note
    )


def open_pictures(workdir, step):
    """The run's data and model, opened again by its config. Raises UserError where something is not there any more."""
    from jaxcls import main
    from jaxcls.checkpoints import view
    from jaxcls.report.pictures import Pictures
    from jaxcls.training import build

    args = main.parse([f"--workdir={workdir}"])
    config, _ = main.read_config(args)
    config.parallel.devices = 1  # the machine may have fewer than that of the run, and one is enough
    main.set_up_jax(args)
    variables, _ = view.read_variables(view.find_step(workdir, step))
    return Pictures(build.build(config), variables)


def note(text):
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
