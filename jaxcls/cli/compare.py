"""Puts runs side by side: which is better, whether that is more than noise, and what they did differently.

    jaxcls compare runs/a runs/b                    # prints; others are compared with the first
    jaxcls compare runs/a runs/b runs/c --out runs/comparison
    jaxcls compare runs/ladder/*/seed-* --split validation

It reads what the runs have stored (eval/, metrics.jsonl, config.json) and needs neither the pictures nor the models.
The runs must have been evaluated on the same pictures. Runs that differ in nothing but the seed are of one setting, and
settings are compared over their seeds as well. Where labels are sets it compares mAP, F1, exact match and Hamming loss,
and each class's average precision, over redraws of the pictures. docs/measuring.md explains the tests. --out writes
comparison.md, .json, .png and .svg.
Exit status: 0; 2 where runs can't be compared.
"""

import argparse

from jaxcls.cli import class_trees
from jaxcls.cli.arguments import path
from jaxcls.errors import UserError


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument("runs", type=path, nargs="+", metavar="RUN", help="workdirs; the first is the one to beat")
    parser.add_argument("--split", choices=("test", "validation"), default="", help="default: test where all have it")
    class_trees.add_option(parser, "default: that of the first run that has one")
    parser.add_argument("--out", type=path, metavar="DIR", help="write the comparison there")


def run(args: argparse.Namespace) -> None:
    """Compares."""
    from jaxcls.measure import comparison, comparison_text, runs, tree_comparison
    from jaxcls.report.comparison import write

    opened = runs.load(args.runs, args.split)
    report = comparison.report(opened)
    if args.tree and report["labels"] == "sets":
        raise UserError("--tree is for one label a picture, and the labels of these runs are sets")
    tree = None if report["labels"] == "sets" else tree_comparison.find(opened, args.tree)
    if tree is not None:
        report["tree"] = tree_comparison.report(opened, report["pairs"], tree)
    print(comparison_text.markdown(report), end="")
    if args.out:
        print(f"\nwritten: {', '.join(map(str, write(args.out, report, opened)))}")
