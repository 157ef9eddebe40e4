"""Measures `jaxcls predict` against decoding alone and the forward pass alone, on the same pictures and in turns.

    taskset -c 0 python scripts/bench/predict_speed.py --pictures DIR                    # resnet18, ONNX and JAX
    taskset -c 0 python scripts/bench/predict_speed.py --pictures DIR --model squeezenet1_1 --count 600 --top 1

DIR holds pictures (at any depth), which are copied, over and over, until there are --count JPEGs. On one core the best
that can be is the sum of both times; on several the longer of the two, or both in all cores' time. `of_possible` is
what predict reaches of it, by pictures a second, the median over rounds; where other programs run, the least times of
the rounds are the surer ones. Weights are drawn: they cost what trained ones
do. onnx and onnxruntime must be installed.
"""

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _timing import interleave
from PIL import Image

from jaxcls.cli.entry import entry_point
from jaxcls.export import subject
from jaxcls.export.float_file import float_model
from jaxcls.predict import answering, reading
from jaxcls.predict.base import BasePredictor
from jaxcls.predict.predictor import Predictor
from jaxcls.predict.progress import Interruption
from jaxcls.runtime.predictor import FilePredictor


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", metavar="DIR", required=True)
    parser.add_argument("--model", nargs="+", default=["resnet18"], help="default resnet18")
    parser.add_argument("--count", type=int, default=320, help="pictures (default %(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="default %(default)s")
    parser.add_argument("--top", type=int, default=5, help="default %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default %(default)s, after one to warm up")
    parser.add_argument("--json", action="store_true", help="a JSON object a line")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        place = made(args.pictures, args.count, Path(folder))
        for model in args.model:
            network = subject.of_model(model, note=lambda line: None).network
            file = Path(folder, f"{model}.onnx")
            file.write_bytes(float_model(network).SerializeToString())
            predictors: dict[str, BasePredictor] = {
                "onnx": FilePredictor.load(file, batch=args.batch),
                "jax": Predictor(network, sizes=(1, min(8, args.batch), args.batch)),
            }
            for backend, predictor in predictors.items():
                result = {"model": model, "backend": backend, **measure(predictor, place, args)}
                print(json.dumps(result) if args.json else line(result), flush=True)
    return 0


def made(source: str, count: int, folder: Path) -> Path:
    """A folder with so many JPEGs of the pictures of another one, at their own sizes."""
    paths = [path for path, problem in reading.walk(source) if not problem]
    place = folder / "pictures"
    place.mkdir()
    encoded = []
    for path in paths[:count]:
        out = io.BytesIO()
        with Image.open(path) as picture:
            picture.convert("RGB").save(out, "jpeg", quality=90)
        encoded.append(out.getvalue())
    for i in range(count):
        (place / f"{i:05d}.jpg").write_bytes(encoded[i % len(encoded)])
    return place


def measure(predictor: BasePredictor, place: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of all three, and what predict reaches of what is possible."""
    paths = sorted(place.iterdir())
    images = np.stack([predictor.prepare(path.read_bytes(), path.name) for path in paths])

    def decode(_: int) -> None:
        for path in paths:
            predictor.prepare(path.read_bytes(), path.name)

    def forward(_: int) -> None:
        for start in range(0, len(images), args.batch):
            predictor.logits(images[start : start + args.batch])

    def predict(_: int) -> None:
        options = answering.Options(form="jsonl", out=place.parent / "out.jsonl", top=args.top, batch=args.batch)
        with contextlib.redirect_stderr(io.StringIO()), Interruption() as interruption:
            answering.run(predictor, [str(place)], options, interruption)

    contenders: dict[str, Callable[[int], object]] = {"decode": decode, "forward": forward, "predict": predict}
    interleave(contenders, 1, 1)
    times = interleave(contenders, 1, args.rounds)
    cores = len(os.sched_getaffinity(0))
    rounds = list(zip(*(times[name] for name in contenders), strict=True))
    least = {name: min(t["cpu"] for t in times[name]) for name in contenders}
    shares = {
        "wall": float(np.median([possible(d, f, cores) / p["wall"] for d, f, p in rounds])),
        "cpu": float(np.median([(d["cpu"] + f["cpu"]) / p["cpu"] for d, f, p in rounds])),
        "least_cpu": (least["decode"] + least["forward"]) / least["predict"],
    }
    return {
        "pictures": len(paths),
        "cores": cores,
        **{name: {k: float(np.median([t[k] for t in times[name]])) for k in ("wall", "cpu")} for name in contenders},
        "pictures_per_second": len(paths) / float(np.median([t["wall"] for t in times["predict"]])),
        "of_possible": shares,
    }


def possible(decode: dict[str, float], forward: dict[str, float], cores: int) -> float:
    """The least wall time of both together. Decoding is timed in one thread and may have all cores."""
    if cores == 1:
        return decode["wall"] + forward["wall"]
    return max(decode["wall"] / cores, forward["wall"], (decode["cpu"] + forward["cpu"]) / cores)


def line(result: dict[str, Any]) -> str:
    """A line for people."""
    each = ", ".join(
        f"{name} {1e3 * result[name]['cpu'] / result['pictures']:.2f}" for name in ("decode", "forward", "predict")
    )
    shares = result["of_possible"]
    reached = f"of what is possible: {shares['wall']:.3f} (wall), {shares['cpu']:.3f} (CPU), {shares['least_cpu']:.3f} "
    reached += f"(least CPU times), {result['cores']} core(s)"
    speed = f"{result['model']:<20} {result['backend']:<5} {result['pictures_per_second']:>7.1f} pictures/s"
    return f"{speed}; CPU ms a picture: {each}; {reached}"


if __name__ == "__main__":
    sys.exit(main())
