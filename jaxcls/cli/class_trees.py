"""`--tree FILE` of the commands that measure by a tree of the classes."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcls.cli.arguments import path

if TYPE_CHECKING:
    from jaxcls.data.class_tree import ClassTree


def add_option(parser: argparse.ArgumentParser, about: str) -> None:
    """--tree, whose help ends with what is said about it here."""
    text = f"a tree of the classes: CSV with the columns child and parent; {about}"
    parser.add_argument("--tree", type=path, metavar="FILE.csv", help=text)


def find(file: Path | None, workdir: Path, classes: Sequence[str]) -> "ClassTree | None":
    """The tree of a file, else that of the run; None where there is neither. Raises UserError for one of no use."""
    from jaxcls.data import tree_file

    return tree_file.of_workdir(workdir, classes) if file is None else tree_file.read(file, classes, "--tree")


def keep(file: Path | None, workdir: Path, classes: Sequence[str]) -> None:
    """Stores the tree of a file with the run, in place of an earlier one; without a file nothing is done."""
    from jaxcls.data import tree_file

    if file is not None:
        tree_file.write(workdir, tree_file.read(file, classes, "--tree"))
