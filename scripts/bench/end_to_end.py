"""Measures what predicting and evaluating a folder of JPEGs costs beside decoding, resizing and the forward pass alone.

    taskset -c 0 python scripts/bench/end_to_end.py --folder FOLDER
    taskset -c 0 python scripts/bench/end_to_end.py --folder FOLDER --models resnet18 mobilenet_v3_small --rounds 7

The pictures are enlarged to 500 x 375 as in input.py. `bare` decodes with simplejpeg, resizes and crops with Pillow,
and calls the compiled model, batch by batch, and nothing else; `predict` is `jaxcls predict` from the folder to the
file of rows; `evaluate` is an evaluation from the folder to the figures. All in one process, in turns, compiled before;
CPU time, least and median of the rounds. "of bare" is bare's time in units of theirs: 1 would be no cost at all.
Weights are random: no figure depends on them.
"""

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
import simplejpeg
from _input_jaxcls import source_of
from _input_pictures import enlarge, jpegs, make_pictures
from _timing import Times, interleave, ratio
from PIL import Image

from jaxcls import metrics, models
from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.cli.entry import entry_point
from jaxcls.parallel import Parallel
from jaxcls.predict import answering
from jaxcls.predict.predictor import Predictor
from jaxcls.predict.progress import Interruption
from jaxcls.tasks.networks import Network
from jaxcls.training import evaluate_other
from jaxcls.training.step import make_eval_step

SIZE, SHORT = 224, 256


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="JPEGs, at any depth; without it some are made")
    parser.add_argument("--models", nargs="+", default=["resnet18", "mobilenet_v3_small"], help="default %(default)s")
    parser.add_argument("--pictures", type=int, default=224, help="default %(default)s")
    parser.add_argument("--batch", type=int, default=32, help="default %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default %(default)s")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    args = parser.parse_args(argv)
    result: dict[str, Any] = {"cpus": len(os.sched_getaffinity(0)), "pictures": args.pictures, "batch": args.batch}
    result["models"] = {}
    with tempfile.TemporaryDirectory() as temporary:
        found = jpegs(args.folder or make_pictures(Path(temporary, "made")))
        paths = enlarge((found * args.pictures)[: args.pictures], (500, 375), Path(temporary, "pictures"))
        for name in args.models:
            times = interleave(contenders(network_of(name), paths, args.batch, Path(temporary)), 1, args.rounds)
            result["models"][name] = figures(times, len(paths))
    print(json.dumps(result, indent=1) if args.json else "\n".join(lines(result)))
    return 0


def network_of(name: str) -> Network:
    """A model of ImageNet's classes with random weights, and the usual preprocessing."""
    model = models.create(name, num_classes=1000)
    picture = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), np.float32)
    shapes = jax.eval_shape(lambda key, x: model.init(key, x, train=False), jax.random.key(0), picture)
    random = np.random.default_rng(0)  # drawn here: compiling the initialisation of a mobile net takes minutes

    def drawn(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        return (0.05 * random.standard_normal(leaf.shape) if leaf.ndim > 1 else np.ones(leaf.shape)).astype(leaf.dtype)

    variables = jax.tree.map(drawn, shapes)
    way = Preprocessing((f"resize({SHORT})", f"center_crop({SIZE})"), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return Network(name, name, model, variables, tuple(f"class {i}" for i in range(1000)), way)


def contenders(network: Network, paths: list[str], batch: int, folder: Path) -> dict[str, Callable[[int], Any]]:
    """bare, predict and evaluate, each called once before."""
    predictor = Predictor(network, sizes=(batch,))
    made: dict[str, Callable[[int], Any]] = {
        "bare": bare(predictor, paths, batch),
        "predict": predict(predictor, paths, batch, folder / "rows.jsonl"),
        "evaluate": evaluate(network, paths, batch),
    }
    for call in made.values():
        call(1)
    return made


def bare(predictor: Predictor, paths: list[str], batch: int) -> Callable[[int], None]:
    """Decoding, resizing, cropping and the compiled model."""

    def prepared(path: str) -> np.ndarray:
        with open(path, "rb", buffering=0) as file:
            picture = Image.fromarray(simplejpeg.decode_jpeg(file.read()))
        short = min(picture.size)
        wide, high = (int(n * SHORT / short) for n in picture.size)
        left, top = round((wide - SIZE) / 2), round((high - SIZE) / 2)
        whole = picture.resize((wide, high), Image.Resampling.BILINEAR)
        return np.asarray(whole.crop((left, top, left + SIZE, top + SIZE)))

    def call(_: int) -> None:
        for start in range(0, len(paths), batch):
            predictor.logits(np.stack([prepared(path) for path in paths[start : start + batch]]))

    return call


def predict(predictor: Predictor, paths: list[str], batch: int, out: Path) -> Callable[[int], None]:
    """`jaxcls predict RUN FOLDER --out FILE`, of a run that is loaded already."""
    options = answering.Options(form="jsonl", out=out, batch=batch)

    def call(_: int) -> None:
        out.unlink(missing_ok=True)
        with contextlib.redirect_stderr(io.StringIO()):
            answering.run(predictor, [os.path.dirname(paths[0])], options, Interruption())

    return call


def evaluate(network: Network, paths: list[str], batch: int) -> Callable[[int], None]:
    """`jaxcls eval` of pictures, from the files to the figures, by a step that is compiled already."""
    parallel, source = Parallel(devices=1), source_of(paths)
    step = parallel.compile(make_eval_step(evaluate_other.Answers(network), axis_name=parallel.axis_name), (None, 0))

    def call(_: int) -> None:
        with mock.patch.object(Parallel, "compile", lambda *_: step):
            outputs = evaluate_other._predicted(network, source, parallel, batch, None)
        metrics.of_logits(outputs["logits"], outputs["label"])

    return call


def figures(times: dict[str, Times], pictures: int) -> dict[str, dict[str, float]]:
    """CPU ms a picture of each contender, least and median of the rounds, and bare's time in units of its."""
    result = {}
    for key, rounds in times.items():
        each = [1e3 * t["cpu"] / pictures for t in rounds]
        of_bare = ratio(times["bare"], rounds, "cpu")
        result[key] = {"cpu_ms_min": min(each), "cpu_ms_median": float(np.median(each)), "of_bare": of_bare}
    return result


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The result as lines of text."""
    yield f"{result['cpus']} CPU core(s); {result['pictures']} pictures, batches of {result['batch']}"
    for name, contenders in result["models"].items():
        yield f"{name:<20} {'CPU ms a picture: least':>24} {'median':>7} {'of bare':>8}"
        for key, f in contenders.items():
            yield f"  {key:<18} {f['cpu_ms_min']:24.2f} {f['cpu_ms_median']:7.2f} {f['of_bare']:8.2f}"


if __name__ == "__main__":
    sys.exit(main())
