"""Measures the two-view steps of learning without labels by two supervised passes of the same net.

    taskset -c 0 python scripts/bench/ssl_step.py
    taskset -c 0 python scripts/bench/ssl_step.py --methods simclr --width 64 --batch 256 --rounds 9

A supervised step on 2N pictures is two passes over N: as many pictures are cropped, coloured and passed through the net
as in a two-view step on N. All take SimCLR's views of CIFAR-10 and SGD; heads and their settings are those of
configs/<method>_cifar10.py. In turns within one process, as in step.py; ratios are medians over rounds, of CPU time and
of wall time. What to expect, where a backward pass costs twice its forward pass, of the convolutions alone: SimCLR 1;
MoCo 1, or 2/3 with a single query (one view forward and back, the other one forward); BYOL 4/3 (both views pass
through the slow encoder, too).
"""

import argparse
import json
import sys
from typing import Any

from _step import Step
from _timing import interleave, machine, ratio, summary
from absl import logging
from ml_collections import ConfigDict

from jaxcls.cli.entry import entry_point
from jaxcls.defaults import default_config
from jaxcls.settings import config_file
from jaxcls.training import build

SUPERVISED = "supervised"
RECIPES = {
    "simclr": "simclr_cifar10",
    "moco": "moco_v2_cifar10",
    "moco_v3": "moco_v3_cifar10",
    "byol": "byol_cifar10",
    "simsiam": "simsiam_cifar10",
    "barlow_twins": "barlow_twins_cifar10",
    "vicreg": "vicreg_cifar10",
}


def config_of(method: str, batch: int, width: int, classes: int = 10) -> ConfigDict:
    """The config of a method's step, or of `SUPERVISED`'s, on `batch` pictures of noise of CIFAR-10's shape."""
    views, config = config_file.load(RECIPES["simclr"]), default_config()
    config.data.name, config.data.validation = f"synthetic/{16 * batch}x32x3x{classes}", 0.0
    config.data.augment, config.data.normalize = views.data.augment, "cifar10"
    config.model.name, config.model.fields = "resnet18", {"stem": "cifar", "width": width}
    config.batch_size = batch
    if method != SUPERVISED:
        recipe = config_file.load(RECIPES[method])
        config.ssl.update(recipe.ssl)
        config.parallel.batch_norm = recipe.parallel.batch_norm
    return config


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    logging.set_verbosity(logging.ERROR)
    result = measure(args)
    print(json.dumps(result, indent=1) if args.json else "\n".join(lines(result)))
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=RECIPES, default=["simclr", "moco", "byol"])
    parser.add_argument("--batch", type=int, default=64, help="pictures of a two-view step (default %(default)s)")
    parser.add_argument("--width", type=int, default=16, help="of the ResNet-18 (default %(default)s)")
    parser.add_argument("--steps", type=int, default=2, help="steps of a round (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="default %(default)s, after one to warm up")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    args = parser.parse_args(argv)
    if min(args.batch, args.width, args.steps, args.rounds) < 1:
        parser.error("--batch, --width, --steps and --rounds must be at least 1")
    return args


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Times of all steps, and what each takes of the supervised one."""
    contenders, flops = {}, {}
    for name in (SUPERVISED, *args.methods):
        pictures = 2 * args.batch if name == SUPERVISED else args.batch
        run = build.build(config_of(name, pictures, args.width))
        step = Step(run)
        flops[name] = step.compile()["flops_per_step"]
        step.round(args.steps)
        contenders[name] = step.round
    times = interleave(contenders, args.steps, args.rounds)
    methods = {}
    for name, of in times.items():
        least = min(t["cpu"] for t in of) / min(t["cpu"] for t in times[SUPERVISED])
        methods[name] = summary(of, args.steps, 2 * args.batch) | {
            "cpu": ratio(of, times[SUPERVISED], "cpu"),
            "cpu_of_minima": least,
            "wall": ratio(of, times[SUPERVISED]),
            "flops": flops[name] / flops[SUPERVISED],
        }
    return machine(run.parallel) | {"batch": args.batch, "width": args.width, "steps": methods}


def lines(r: dict[str, Any]) -> list[str]:
    """The result as a table in Markdown."""
    rows = [
        f"{r['device']} ({r['platform']}), jax {r['jax']}: ResNet-18 of width {r['width']}, two views of {r['batch']} "
        f"pictures, supervised {2 * r['batch']}",
        "",
        "| step | CPU ms | of supervised, CPU | of the least | wall | FLOPs |",
        "|---|---|---|---|---|---|",
    ]
    for name, of in r["steps"].items():
        shares = " | ".join(f"{of[key]:.3f}" for key in ("cpu", "cpu_of_minima", "wall", "flops"))
        rows.append(f"| {name} | {of['step_cpu_ms']:.1f} | {shares} |")
    return rows


if __name__ == "__main__":
    sys.exit(main())
