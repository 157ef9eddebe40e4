"""Measures a cold start: CPU seconds of fresh processes from their start until the first training step begins.

    taskset -c 0 python scripts/bench/start.py                     # digits and resnet50
    taskset -c 0 python scripts/bench/start.py --cases mobilenet_v3_large --rounds 1 --top 10

The first round of a case has an empty cache of compiled programs, the others find there what it has left. A process is
`python -m jaxcls.main`; it ends where the compiled step would be called with its first batch. Each instant counts for
one part alone: what a stage imports, traces, lowers and compiles (or loads from the cache) is told apart from the rest
of the stage. Times are of all threads of the process and of its ended children.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from _input_pictures import make_pictures

from jaxcls.cli.entry import entry_point

ROOT = Path(__file__).resolve().parents[2]
CHILD = Path(__file__).with_name("_start_process.py")
KINDS = ("imports", "trace", "lower", "compile", "rest")
PICTURES = ["--config.data.name=folder/{pictures}", "--config.batch_size=8", "--config.schedule.warmup="]
CASES = {
    "digits": ["--config=configs/lenet5_digits.py"],
    "resnet50": ["--config=configs/resnet50_imagenet.py", "--config.precision=float32", *PICTURES],
    "mobilenet_v3_large": ["--config=configs/mobilenet_v3_large_imagenet.py", "--config.precision=float32", *PICTURES],
    "finetune": ["--config=configs/finetune.py", "--config.model.name=resnet18", "--config.model.pretrained={weights}"]
    + PICTURES,
}


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="with what the first has left (default %(default)s)")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["digits", "resnet50"], metavar="CASE")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="further settings, as of --config.*")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="list the N costliest functions")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(args, Path(folder))
    print(json.dumps(result, indent=1) if args.json else "\n".join(lines(result, args.top)))
    return 0


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """case -> {"cold", "warm"} -> a list of what processes have told."""
    places = {"pictures": folder / "pictures", "weights": folder / "weights.safetensors"}
    for name in ("a", "b"):
        make_pictures(places["pictures"] / name, n=32)
    if "finetune" in args.cases:
        make_weights(places["weights"])
    settings = [f"--config.{setting}" for setting in args.set]
    result: dict[str, Any] = {case: {"cold": [], "warm": []} for case in args.cases}
    for i in range(1 + args.rounds):
        for case in args.cases:
            arguments = [part.format_map(places) for part in CASES[case]] + settings
            result[case]["warm" if i else "cold"].append(start(arguments, folder / case, folder / f"{case}{i}"))
    return result


def start(arguments: list[str], cache: Path, workdir: Path) -> dict[str, Any]:
    """What one process tells: {"cpu_s", "parts": {"stage: kind": s}, "functions": {"kind name": [s, calls]}}."""
    out = workdir.with_suffix(".json")
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    command = [sys.executable, CHILD, out, *arguments, f"--workdir={workdir}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if not out.exists():
        sys.exit(f"error: {' '.join(map(str, command))} ended with status {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(out.read_text())


def make_weights(path: Path) -> None:
    """A file of weights for a resnet18 of 1000 classes: zeros."""
    import jax
    import numpy as np
    from safetensors.numpy import save_file

    from jaxcls import models
    from jaxcls.models import pretrained

    model, image = models.create("resnet18", num_classes=1000), jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
    shapes = jax.eval_shape(lambda key, x: model.init(key, x, train=False), jax.random.key(0), image)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    tensors = pretrained.to_state_dict(zeros)
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path)


def lines(result: Mapping[str, Any], top: int) -> Iterator[str]:
    """The result as lines of text."""
    for case, by_cache in result.items():
        for cache, rounds in by_cache.items():
            if not rounds:
                continue
            middle = sorted(rounds, key=lambda r: r["cpu_s"])[len(rounds) // 2]
            seconds = [r["cpu_s"] for r in rounds]
            yield f"{case}, {cache} cache: {statistics.median(seconds):.2f} CPU s (least {min(seconds):.2f})"
            yield f"  {'stage':<16}" + "".join(f"{kind:>9}" for kind in (*KINDS, "all"))
            table = [(stage, [of.get(kind, 0.0) for kind in KINDS]) for stage, of in middle["parts"].items()]
            sums = ("all", [sum(column) for column in zip(*(values for _, values in table), strict=True)])
            for stage, values in (*table, sums):
                yield f"  {stage:<16}" + "".join(f"{value:9.2f}" for value in (*values, sum(values)))
            costly = sorted(middle["functions"].items(), key=lambda item: -item[1][0])[:top]
            yield "  costliest: " + ", ".join(f"{name} {s:.2f} s ({n})" for name, (s, n) in costly)


if __name__ == "__main__":
    sys.exit(main())
