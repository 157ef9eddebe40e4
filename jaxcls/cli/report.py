"""Writes the report of a run anew: report.html in its workdir, one file that needs nothing else to be opened.

    jaxcls report runs/digits
    jaxcls report runs/digits --step 500 --split validation
    jaxcls report runs/digits --split NAME       # of an evaluation on other pictures (jaxcls eval --data)
    jaxcls report runs/digits --tree tree.csv    # with figures by level of a tree of the classes
    jaxcls report runs/digits --no-pictures      # from the stored logits alone: neither data nor model

Training and jaxcls eval write it at their end; this is for reports of older runs, of other steps, after jaxcls
calibrate has stored thresholds, or on another machine. Where the data can't be opened the page says so and leaves the
pictures out. Nothing is evaluated: what it shows was stored by training or jaxcls eval.
Exit status: 0; 2 where the workdir holds no run, or the evaluation asked for is not there.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcls.cli import class_trees, devices, run_config
from jaxcls.cli.arguments import add_run
from jaxcls.errors import UserError

if TYPE_CHECKING:
    from jaxcls.report.pictures import Pictures


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add_run(parser, "that of the run's result")
    text = "test, validation, or the name of an evaluation on other pictures; default: test where it was evaluated"
    parser.add_argument("--split", metavar="SPLIT", help=text)
    class_trees.add_option(parser, "stored with the run")
    parser.add_argument("--no-pictures", action="store_true", help="leave out pictures, heat maps and multiply-adds")


def run(args: argparse.Namespace) -> None:
    """Writes the page and prints its path."""
    from jaxcls.report import evidence, page

    workdir = Path(args.run)
    about = evidence.read(workdir, args.split, args.step)  # says what is wrong before the data is opened
    if args.tree and about.sets:
        raise UserError(f"--tree is for pictures of one label each, and those of {workdir} have sets of labels")
    class_trees.keep(args.tree, workdir, about.classes)
    pictures, why_not = None, "they were not asked for"
    if not args.no_pictures and (about.step is not None or about.meta.step >= 0):
        try:
            if about.about:
                raise UserError("these are other pictures than the run's own")
            pictures = open_pictures(workdir, about.step, about.split or "train")
        except UserError as error:
            why_not = " ".join(str(error).split())
            note(f"the pictures are left out: {why_not}")
    print(page.write_report(workdir, about.step, about.split or None, pictures=pictures, why_not=why_not, note=note))


def open_pictures(workdir: Path, step: int | None, split: str) -> "Pictures":
    """The run's data and model, opened again by its config. Raises UserError where something is not there any more."""
    config = run_config.stored(workdir)
    devices.set_up()
    from jaxcls.report.pictures import Pictures
    from jaxcls.settings.reader import Reader, resolve
    from jaxcls.tasks import networks
    from jaxcls.training import data, same_run

    opened = data.read(Reader(resolve(config)), trains=False, workdir=workdir)
    same_run.check_opened(opened, workdir, step, [split])
    return Pictures(opened.sources, networks.from_run(workdir, step), opened.picture)


def note(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr)
