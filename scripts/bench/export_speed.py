"""Measures our ONNX files in ONNX Runtime against those of torchvision through torch.onnx: time, nodes, Transposes.

    taskset -c 0 python scripts/bench/export_speed.py                          # six models, batches of 1 and 16
    taskset -c 0 python scripts/bench/export_speed.py resnet50 swin_t --batch 1
    taskset -c 0 python scripts/bench/export_speed.py --bytes                  # theirs take bytes as ours do

Weights are random. Ours take bytes, channels last, and normalise them; theirs take float32, channels first, as
torch.onnx writes them (dynamo), so without --bytes ours do more. In turns within one process, one thread, CPU time,
medians over rounds. onnxruntime, onnxscript, torch and torchvision (timm for names that it lacks) must be installed.
"""

import argparse
import collections
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _timing import interleave, ratio, summary

from jaxcls import models
from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError
from jaxcls.export.writer import to_onnx

MODELS = ("resnet18", "resnet50", "mobilenet_v3_large", "efficientnet_b0", "convnext_tiny", "swin_t")
MEAN, STD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SECONDS = 1.0  # of a round at least


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16], help="default 1 16")
    parser.add_argument("--size", type=int, default=224, help="side of the pictures (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="default %(default)s, after one to warm up")
    parser.add_argument("--bytes", action="store_true", help="theirs take bytes, channels last, and normalise, too")
    parser.add_argument("--json", action="store_true", help="a JSON object a model")
    args = parser.parse_args(argv)
    for name in args.models:
        result = measure(name, args.batch, args.size, args.rounds, args.bytes)
        print(json.dumps(result) if args.json else line(result), flush=True)
    return 0


def measure(name: str, batches: list[int], size: int, rounds: int, of_bytes: bool) -> dict[str, Any]:
    """Nodes of both files, and our time in units of theirs for each batch."""
    with tempfile.TemporaryDirectory() as folder:
        files = {"ours": ours(name, size, Path(folder)), "torch": theirs(name, size, Path(folder), of_bytes)}
        result: dict[str, Any] = {"model": name, "size": size, "bytes": of_bytes}
        result |= {who: nodes(path) for who, path in files.items()}
        for batch in batches:
            contenders = {who: runner(path, batch, size) for who, path in files.items()}
            once = interleave(contenders, 1, 1)
            steps = max(1, round(SECONDS / once["torch"][0]["cpu"]))
            times = interleave(contenders, steps, rounds)
            row = {who: summary(times[who], steps, batch)["step_cpu_ms"] for who in times}
            result[f"batch {batch}"] = {**row, "our_time": ratio(times["ours"], times["torch"], "cpu")}
    return result


def ours(name: str, size: int, folder: Path) -> Path:
    """Our file."""
    model = models.create(name)
    key, picture = jax.random.key(0), jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    shapes = jax.eval_shape(lambda key, x: model.init(key, x, train=False), key, picture)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: np.abs(rng.normal(0.05, 0.02, leaf.shape)).astype(leaf.dtype), shapes)
    mean, std = (np.float32(value).reshape(1, 1, 1, 3) for value in (MEAN, STD))

    def function(variables, images):
        return model.apply(variables, (images.astype(jnp.float32) / 255 - mean) / std, train=False)[0]

    path = folder / "ours.onnx"
    path.write_bytes(to_onnx(function, variables, (size, size, 3)).SerializeToString())
    return path


def theirs(name: str, size: int, folder: Path, of_bytes: bool) -> Path:
    """torchvision's, or else timm's; `of_bytes`: behind what makes its pictures of bytes, channels last."""
    try:
        import torch
        import torchvision
    except ImportError as error:
        raise UserError(f"{error.name} is not installed; pip install torch torchvision timm onnxscript") from error
    if name in torchvision.models.list_models():
        model = torchvision.models.get_model(name, weights=None)
    else:
        import timm

        model = timm.create_model(name)
    shape = ({0: torch.export.Dim("batch")},)
    example = (torch.zeros(2, 3, size, size),)
    if of_bytes:
        model, example = _of_bytes(model), (torch.zeros(2, size, size, 3, dtype=torch.uint8),)
    program = torch.onnx.export(model.eval(), example, dynamo=True, dynamic_shapes=shape, verbose=False)
    path = folder / "torch.onnx"
    program.save(str(path))
    return path


def _of_bytes(model):
    import torch

    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model
            self.mean, self.std = (torch.nn.Buffer(torch.tensor(value).reshape(1, 3, 1, 1)) for value in (MEAN, STD))

        def forward(self, images):
            return self.model((images.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std)

    return Whole()


def nodes(path: Path) -> dict[str, int]:
    """How many nodes a file has, and how many of them move axes."""
    import onnx

    found = collections.Counter(node.op_type for node in onnx.load(path, load_external_data=False).graph.node)
    return {"nodes": sum(found.values()), "transposes": found["Transpose"]}


def runner(path: Path, batch: int, size: int) -> Callable[[int], None]:
    """Runs a file on pictures, so many times."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    rng = np.random.default_rng(0)
    if given.type == "tensor(uint8)":
        images = rng.integers(0, 256, (batch, size, size, 3)).astype(np.uint8)
    else:
        images = rng.normal(size=(batch, 3, size, size)).astype(np.float32)

    def run(steps: int) -> None:
        for _ in range(steps):
            session.run(None, {given.name: images})

    return run


def line(result: dict[str, Any]) -> str:
    """A result for people."""
    parts = [f"{who} {result[who]['nodes']} nodes, {result[who]['transposes']} Transposes" for who in ("ours", "torch")]
    for key, row in result.items():
        if key.startswith("batch"):
            times = f"ours {row['ours']:.1f}, torch {row['torch']:.1f} CPU ms"
            parts.append(f"{key}: {times}, our time {row['our_time']:.2f}")
    return f"{result['model']:<24} " + "; ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
