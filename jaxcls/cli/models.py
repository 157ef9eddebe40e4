"""Lists the models that config.model.name takes.

    jaxcls models
    jaxcls models 'resnet*'
    jaxcls models 'vit*' --count           # counts parameters and multiply-adds, too: a second or so a model
    jaxcls models --pretrained 'resnet50*' # published weights, as config.model.pretrained takes their names
    jaxcls models --json

Side of the picture (16x112: of a clip of 16 frames), multiply-adds and accuracy on ImageNet are those that were
published with a model ("-": none, as docs/models.md says, which has all of them); any other size and number of classes
can be had, as jaxcls summarize shows. Of weights: the model that they fit, millions of bytes, side of the picture,
classes, accuracy on ImageNet and the side that it was measured at, licence; those of a net's first line are taken where
config.model.pretrained=True.
Exit status: 0; 2 where no name matches.
"""

import argparse
import dataclasses
import json
from typing import Any

from jaxcls.cli import devices
from jaxcls.errors import UserError, did_you_mean

LEFT = ("name", "model", "top1", "licence")  # aligned so
RESTRICTED = " (no commercial use)"
OF_WEIGHTS = {"name": "weights", "model": "model", "mb": "MB", "size": "picture", "classes": "classes",
              "top1": "top-1 (at)", "licence": "licence"}  # fmt: skip
TITLES = {"name": "model", "size": "picture", "parameters": "parameters", "gmacs": "GMACs", "top1": "top-1 (source)"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument("pattern", metavar="PATTERN", nargs="?", default="*", help="of names, such as 'resnet*'")
    parser.add_argument("--count", action="store_true", help="count parameters and multiply-adds, for that picture")
    parser.add_argument("--pretrained", action="store_true", help="the weights that timm and torchvision publish")
    parser.add_argument("--json", action="store_true", help="a list of objects")


def run(args: argparse.Namespace) -> None:
    """Lists."""
    devices.cpu_only()
    from jaxcls import models

    if args.pretrained:
        if args.count:
            raise UserError("--count counts models; leave out --pretrained.")
        of_weights(args.pattern, as_json=args.json)
        return
    names = models.list_models(args.pattern)
    if not names:
        near = did_you_mean(args.pattern, models.list_models())
        raise UserError(f"no model is called {args.pattern!r}{near or '; jaxcls models lists them all.'}")
    rows = [row(name, args.count) for name in names]
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        print(table([{**entry, "size": _times(entry)} for entry in rows]))


def of_weights(pattern: str, *, as_json: bool) -> None:
    """Lists published weights whose name or model matches. Raises UserError where none does."""
    from jaxcls.models import weights

    found = weights.listing(pattern)
    if not found:
        near = did_you_mean(pattern, [*weights.rows(), *(row.model for row in weights.rows().values())])
        raise UserError(f"no weights are called {pattern!r}{near or '; jaxcls models --pretrained lists them all.'}")
    if as_json:
        plain = [{**dataclasses.asdict(row), "restricted": row.restricted} for row in found]
        print(json.dumps(plain, indent=1))
        return
    lines = []
    for row in found:
        top1 = f"{row.top1:.2f} ({row.at})" if row.top1 else ""
        licence = row.licence + RESTRICTED * row.restricted
        lines.append({**dataclasses.asdict(row), "top1": top1, "licence": licence, "classes": row.classes or ""})
    print(table(lines, OF_WEIGHTS))


def row(name: str, count: bool) -> dict[str, Any]:
    """What is known of a model; with `count`, its parameters and multiply-adds."""
    from jaxcls import models
    from jaxcls.models import summary
    from jaxcls.models.published import PUBLISHED

    known = PUBLISHED[name]
    entry = {"name": name, "size": known.size, "channels": known.channels, "classes": known.classes}
    entry |= {"frames": known.frames} if known.frames else {}
    gmacs: float | None = float(known.gmacs) if known.gmacs else None
    if count:
        total = summary.summarize(models.create(name, num_classes=known.classes), known.shape).total
        entry, gmacs = {**entry, "parameters": total.parameters}, total.macs / 1e9
    return {**entry, "gmacs": gmacs, "top1": known.top1}


def table(rows: list[dict[str, Any]], titles: dict[str, str] = TITLES) -> str:
    """Aligned columns."""
    keys = [key for key in titles if key in rows[0]]
    cells = [[titles[key] for key in keys], *([_text(key, row[key]) for key in keys] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if key in LEFT else cell.rjust(width)
            for key, cell, width in zip(keys, line, widths, strict=True)
        ).rstrip()
        for line in cells
    )


def _times(row: dict[str, Any]) -> str:
    """The side of a picture; frames and side of a clip."""
    return f"{row['frames']}x{row['size']}" if "frames" in row else str(row["size"])


def _text(key: str, value: Any) -> str:
    if value in (None, ""):
        return "-"
    return f"{value:#.4g}" if key == "gmacs" else f"{value:,}" if key == "parameters" else str(value)
