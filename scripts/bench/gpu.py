"""What is open until a GPU is at hand, in one go of at most 12 minutes on one GPU; prints a table in Markdown.

    python scripts/bench/gpu.py --data-dir ~/tensorflow_datasets --out gpu.md gpu.json
    python scripts/bench/gpu.py --parts resnet50 --minutes 5
    python scripts/bench/gpu.py --small                     # tries it all at small sizes, on a CPU, too

    resnet50      ResNet-50's training step in bfloat16: pictures and TFLOP a second, against torch.compile
    cifar10_fast  the seconds of configs/cifar10_fast.py, against airbench94's
    ladder        the CIFAR-100 ladder, --epochs a rung, one seed, as many rungs as there is time for

Every part runs in processes of its own and has a share of the time. A part that fails, or whose peer (PyTorch with
CUDA) or data (`jaxcls prepare cifar10 cifar100`) is missing, is a line below the table; the others go on. Without
CIFAR-10 its time is taken on synthetic pictures. Figures of --small mean nothing. Exit status: 0; 1 where no part gave
a figure; 2 where there is no GPU and --small was not given.
"""

import argparse
import dataclasses
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _gpu_parts import PARTS, ROOT, SHARES, LeftOut, Options, Row, probe

from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError
from jaxcls.files import replacing

HEADER = "| what | jaxcls | compared with | |\n|---|---|---|---|"


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    began = time.monotonic()
    args = parse(argv)
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # one GPU
    if args.small:
        os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # compiling takes half as long
    try:
        machine = probe()
    except LeftOut as reason:
        raise UserError(f"JAX does not start: {reason}") from None
    if machine["platform"] == "cpu" and not args.small:
        raise UserError("JAX finds no GPU here (jaxcls doctor tells more); --small tries the parts on the CPU.")
    words = sys.argv[1:] if argv is None else argv
    result = {"command": f"python scripts/bench/gpu.py {shlex.join(words)}".strip(), "commit": commit(), **machine}
    result |= {"small": args.small, "rows": [], "left_out": []}
    print("\n".join([*head(result), HEADER]), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        options = Options(args.small, args.batch, args.epochs, args.data_dir, Path(folder), machine)
        for name in args.parts:
            measure(name, options, args.minutes * 60, began, result)
            write(args.out, result)
    print("\n".join(tail(result)))
    return 0 if result["rows"] else 1


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    parser.add_argument("--minutes", type=float, default=12, help="for all parts together (default %(default)s)")
    parser.add_argument("--batch", type=int, default=256, help="of ResNet-50 (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="of a rung (default %(default)s)")
    parser.add_argument("--data-dir", default="", help="where sets of tensorflow-datasets are kept")
    parser.add_argument("--out", nargs="+", type=Path, default=[], metavar="FILE", help="the table, .md or .json")
    parser.add_argument("--small", action="store_true", help="tiny pictures, batches and nets, few steps")
    args = parser.parse_args(argv)
    if not (args.minutes > 0 and min(args.batch, args.epochs) > 0):
        parser.error("--minutes, --batch and --epochs must be more than 0")
    for path in args.out:
        if path.suffix not in (".md", ".json"):
            parser.error(f"--out {path}: the name must end in .md or .json")
        if not path.parent.is_dir():
            parser.error(f"--out {path}: there is no folder {path.parent}")
    return args


def commit() -> str:
    """The commit of the checkout, with a + where files have been changed; "" where git does not tell."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--abbrev=7"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def measure(name: str, options: Options, total: float, began: float, result: dict[str, Any]) -> None:
    """Runs a part: prints its rows, and adds them and what is left out to the result."""
    left = total - (time.monotonic() - began)
    lines: list[str] = []
    try:
        for item in PARTS[name](options, min(left, SHARES[name] * total)):
            if isinstance(item, Row):
                result["rows"].append({"part": name, **dataclasses.asdict(item)})
                print(cells(result["rows"][-1]), flush=True)
            else:
                lines.append(item)
    except LeftOut as reason:
        lines.append(f"{name}: {reason}")
    except Exception as error:  # a fault of one part must not cost the others, on a machine that is lent for minutes
        lines.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())}")
    result["left_out"] += lines
    result["seconds"] = round(time.monotonic() - began)


def head(result: dict[str, Any]) -> list[str]:
    """The lines before the table."""
    device = f"{result['devices']} x {result['device']} ({result['platform']})"
    versions = f"Python {result['python']}, jax {result['jax']}, jaxlib {result['jaxlib']}"
    warning = " **Small sizes: the figures mean nothing.**" if result["small"] else ""
    return [
        f"    {result['command']}",
        "",
        f"{device}, {versions}; commit {result['commit'] or 'unknown'}.{warning}",
        "",
    ]


def cells(row: dict[str, Any]) -> str:
    """A row of the table."""
    return f"| {row['what']} | {row['jaxcls']} | {row['peer']} | {row['note']} |"


def tail(result: dict[str, Any]) -> list[str]:
    """The lines after the table."""
    return ["", *(f"- Left out: {line}" for line in result["left_out"]), f"- In all {result['seconds']} s."]


def write(paths: Sequence[Path], result: dict[str, Any]) -> None:
    """Writes the files of --out, after each part."""
    page = "\n".join([*head(result), HEADER, *map(cells, result["rows"]), *tail(result)]) + "\n"
    for path in paths:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(result, indent=1) if path.suffix == ".json" else page)


if __name__ == "__main__":
    sys.exit(main())
