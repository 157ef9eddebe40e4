"""Looks at what jaxcls stands on: versions, devices, extras, compilation cache, disk, memory, cores.

    jaxcls doctor
    jaxcls doctor --json

Nothing is changed; what is missing comes with the line that installs it. Exit status: 0; 1 where something stands
against training, such as a package that is missing, or no device.
"""

import argparse
import json

from jaxcls.cli import diagnosis


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Prints; 1 where something stands against training."""
    report = diagnosis.report()
    print(json.dumps(report, indent=1) if args.json else "\n".join(diagnosis.lines(report)))
    return int(bool(report["problems"]))
