"""Shows what a model costs: parameters, multiply-adds, activations, memory; with --batch, time and pictures per second.

    jaxcls summarize resnet50                                   # by stage
    jaxcls summarize resnet18 --size 32 --classes 10 --field stem=cifar --by layer
    jaxcls summarize r3d_18 --frames 8                          # a net of clips
    jaxcls summarize resnet50 --batch 1 16 --precision bfloat16 # measures the compiled model, too
    jaxcls summarize runs/mine                                  # the model of a run, pruned or not

The counts follow from shapes alone and take seconds, without a compiler or an accelerator; jaxcls/models/summary.py
states the conventions. --batch compiles the model in evaluation and runs it on the first device.
Exit status: 0; 2 where a model, a field or a size of picture is not possible.
"""

import argparse
import json
import re
from typing import Any

from jaxcls.cli import devices
from jaxcls.cli.arguments import count, positive
from jaxcls.errors import UserError

PRECISIONS = ("float32", "bfloat16", "float16")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument("model", metavar="MODEL", help="a name (jaxcls models lists them), or a run")
    parser.add_argument("--size", type=side, help="side of the pictures, or HEIGHTxWIDTH; default: the published one")
    parser.add_argument("--classes", type=count, help="0: without the classifier; default: the published number")
    parser.add_argument("--channels", type=positive, help="of the pictures; default: the published number")
    parser.add_argument("--frames", type=positive, help="of a clip; default: the published number, or 16")
    parser.add_argument("--field", action="append", default=[], metavar="NAME=VALUE", help="of the model; repeatable")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="of the computation (%(default)s)")
    text = "what has a line of its own (default %(default)s)"
    parser.add_argument("--by", choices=("stage", "block", "layer", "parameter"), default="stage", help=text)
    parser.add_argument("--batch", type=positive, nargs="+", default=(), metavar="N", help="measure with these sizes")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")


def side(text: str) -> tuple[int, int]:
    """224, or 224x320 (height x width)."""
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no size: give 224, or 224x320 (height x width)")
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def run(args: argparse.Namespace) -> None:
    """Counts, measures and shows."""
    if args.batch:
        devices.set_up()
    else:
        devices.cpu_only()
    from jaxcls.models import costs_text
    from jaxcls.training import run_weights

    report = of_run(args) if run_weights.is_run(args.model) else of_name(args)
    if args.json:
        print(json.dumps(report, indent=1))
    else:
        costs_text.show(report)


def of_name(args: argparse.Namespace) -> dict[str, Any]:
    """The report of a model by its name."""
    from jaxcls import models
    from jaxcls.models import costs

    return costs.describe(
        args.model,
        size=args.size,
        channels=args.channels,
        frames=args.frames,
        classes=args.classes,
        fields=dict(map(models.parse_field, args.field)),
        precision=args.precision,
        by=args.by,
        batches=args.batch,
    )


def of_run(args: argparse.Namespace) -> dict[str, Any]:
    """The report of a run's model. Raises UserError for options that it answers itself."""
    from jaxcls.models import costs
    from jaxcls.tasks import networks

    for option in ("size", "classes", "channels", "frames", "field"):
        if getattr(args, option):
            raise UserError(f"--{option} is for a model by name; a run says itself what it is.")
    network = networks.from_run(args.model, dtype=args.precision)
    report = {
        "model": f"{network.name} of {args.model}",
        "fields": {"pruned": True} if hasattr(network.model, "kept") else {},
        "picture": list(network.picture),
        "classes": len(network.classes),
        "names": "",
        "precision": args.precision,
    }
    return {**report, **costs.of_model(network.model, network.picture, by=args.by, batches=args.batch)}
