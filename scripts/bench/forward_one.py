"""Measures the forward pass of few pictures, jitted, against ONNX Runtime on one thread.

    taskset -c 0 python scripts/bench/forward_one.py                 # resnet18, one picture of 224 pixels
    taskset -c 0 python scripts/bench/forward_one.py --model mobilenet_v3_large

ONNX Runtime computes torchvision's net of the same name, exported by torch.onnx with random weights: onnxruntime,
onnxscript, torch and torchvision must be installed. Logits are fetched, both in turns within one process; CPU time of
all threads, medians over rounds.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from _timing import interleave, ratio, summary

from jaxcls import models
from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18", help="default %(default)s")
    parser.add_argument("--size", type=int, default=224, help="side of the pictures (default %(default)s)")
    parser.add_argument("--batch", type=int, default=1, help="default %(default)s")
    parser.add_argument("--steps", type=int, default=5, help="passes of a round (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="default %(default)s, after one to warm up")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    args = parser.parse_args(argv)
    result = measure(args)
    print(json.dumps(result, indent=1) if args.json else "\n".join(lines(result)))
    return 0


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The times of both, and our time in units of theirs."""
    images = np.random.default_rng(0).normal(size=(args.batch, args.size, args.size, 3)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        contenders = {"ours": ours(args.model, images), "onnxruntime": theirs(args.model, images, Path(folder))}
        interleave(contenders, 1, 1)
        times = interleave(contenders, args.steps, args.rounds)
    result: dict[str, Any] = {"model": args.model, "batch": args.batch, "size": args.size, "jax": jax.__version__}
    result |= {name: summary(times[name], args.steps, args.batch) for name in times}
    ratios = {"our_time": "wall", "our_time_cpu": "cpu"}
    return result | {name: ratio(times["ours"], times["onnxruntime"], key) for name, key in ratios.items()}


def ours(name: str, images: np.ndarray) -> Callable[[int], None]:
    """The jitted forward pass."""
    model = models.create(name, num_classes=1000)
    shapes = jax.eval_shape(lambda key, x: model.init(key, x, train=False), jax.random.key(0), images)
    random = np.random.default_rng(0)  # drawn here: no initialisation is compiled

    def drawn(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        return (0.05 * random.standard_normal(leaf.shape) if leaf.ndim > 1 else np.ones(leaf.shape)).astype(leaf.dtype)

    variables = jax.device_put(jax.tree.map(drawn, shapes))
    forward = jax.jit(lambda variables, images: model.apply(variables, images, train=False)[0])

    def call(passes: int) -> None:
        for _ in range(passes):
            np.asarray(forward(variables, images))

    return call


def theirs(name: str, images: np.ndarray, folder: Path) -> Callable[[int], None]:
    """The same net in ONNX Runtime. UserError where a package is missing or torchvision lacks the net."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch.onnx needs it
        import torch
        import torchvision
    except ImportError as error:
        raise UserError(f"{error.name} is missing: `pip install onnxruntime onnxscript torch torchvision`.") from None
    if name not in torchvision.models.list_models(torchvision.models):
        raise UserError(f"torchvision has no {name}: there is nothing to compare with.")
    pictures = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    net, path = torchvision.models.get_model(name).eval(), str(folder / "net.onnx")
    torch.onnx.export(net, (torch.from_numpy(pictures),), path, input_names=["images"], dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def call(passes: int) -> None:
        for _ in range(passes):
            session.run(None, {"images": pictures})

    return call


def lines(r: dict[str, Any]) -> Iterator[str]:
    """The result as lines of text."""
    yield f"{r['model']}, {r['batch']} picture(s) of {r['size']} pixels, jax {r['jax']}"
    for name in ("ours", "onnxruntime"):
        yield f"{name:<12} {r[name]['step_cpu_ms']:.2f} ms of CPU, {r[name]['step_ms']:.2f} ms"
    yield f"we take {r['our_time_cpu']:.2f} of ONNX Runtime's CPU time, {r['our_time']:.2f} of its wall time"


if __name__ == "__main__":
    sys.exit(main())
