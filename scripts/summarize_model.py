"""Shows what a model costs: parameters, multiply-adds, activations, memory; with --batch, time and pictures per second.

    python scripts/summarize_model.py resnet50                                   # by stage
    python scripts/summarize_model.py resnet18 --size 32 --classes 10 --field stem=cifar --by layer
    python scripts/summarize_model.py resnet50 --batch 1 16 --precision bfloat16 # measures the compiled model, too

The counts follow from shapes alone and take seconds, without a compiler or an accelerator; jaxcls/models/summary.py
states the conventions. --batch compiles the model in evaluation and runs it on the first device.
Exit status: 0; 2 where a model, a field or a size of picture is not possible.
"""

import argparse
import json
import os
import re
import sys
import time

import jax
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from jaxcls import models
from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError
from jaxcls.models import summary
from jaxcls.models.published import PUBLISHED, Published

PRECISIONS = ("float32", "bfloat16", "float16")
RUNS = 20  # at most, of each batch size; and at most SECONDS, but no fewer than LEAST
LEAST, SECONDS = 5, 10


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    if not args.batch:
        jax.config.update("jax_platforms", "cpu")  # counting must not take the memory of a GPU that is training
    report = describe(args)
    if args.json:
        print(json.dumps(report, indent=1))
    else:
        show(report)
    return 0


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a name; a wrong one lists those that are near")
    parser.add_argument("--size", type=side, help="side of the pictures, or HEIGHTxWIDTH; default: the published one")
    parser.add_argument("--classes", type=int, help="0: without the classifier; default: the published number")
    parser.add_argument("--channels", type=positive, help="of the pictures; default: the published number")
    parser.add_argument("--field", action="append", default=[], metavar="NAME=VALUE", help="of the model; repeatable")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="of the computation (%(default)s)")
    parser.add_argument("--by", choices=("stage", "block", "layer"), default="stage", help="default: %(default)s")
    parser.add_argument("--batch", type=positive, nargs="+", metavar="N", help="measure with these batch sizes")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    return parser.parse_args(argv)


def positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return int(text)


def side(text: str) -> tuple[int, int]:
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no size: give 224, or 224x320 (height x width)")
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def describe(args) -> dict:
    """Everything about one model. Raises UserError where it is not possible."""
    known = PUBLISHED.get(args.model, Published(""))
    classes = known.classes if args.classes is None else args.classes
    shape = (*(args.size or known.shape[:2]), args.channels or known.channels)
    fields = dict(map(models.parse_field, args.field))
    model = create(args.model, classes, args.precision, fields)
    counted = summary.summarize(model, shape)
    report = {
        "model": args.model, "fields": fields, "picture": list(shape), "classes": classes, "names": known.library,
        "precision": args.precision, "parameters": counted.total.parameters, "multiply_adds": counted.total.macs,
        "activations": counted.total.activations, "parameter_bytes": counted.parameter_bytes,
        "statistics_bytes": counted.statistics_bytes, "kept_bytes_per_picture": summary.kept_bytes(model, shape),
        "by": args.by,
        "rows": [
            {"name": row.name, "kind": row.kind, "output": list(row.shape), "parameters": row.parameters,
             "multiply_adds": row.macs, "activations": row.activations}
            for row in counted.rows(args.by)
        ],
    }  # fmt: skip
    if (shape, classes, fields) == (known.shape, known.classes, {}) and known.gmacs:
        report["published_gmacs"] = float(known.gmacs)
    if args.batch:
        device = jax.devices()[0]
        report |= {"device": device.device_kind, "platform": device.platform, "cpus": os.cpu_count(),
                   "measured": [measure(model, shape, batch) for batch in args.batch]}  # fmt: skip
    return report


def create(name, classes, precision, fields):
    try:
        return models.create(name, **{"num_classes": classes, "dtype": precision, **fields})
    except (TypeError, ValueError) as error:  # a text where a model compares numbers, ..
        raise UserError(f"model {name!r} cannot be built with {fields}: {error}") from error


def measure(model, shape, batch: int) -> dict:
    """Latency and memory of the compiled model in evaluation: medians of runs, after two to warm up."""
    rng = np.random.default_rng(0)
    images = jax.device_put(rng.normal(size=(batch, *shape)).astype(np.float32))
    variables = jax.device_put(random_variables(model, images, rng))
    start = time.perf_counter()
    step = jax.jit(lambda v, x: model.apply(v, x, train=False)[0]).lower(variables, images).compile()
    compile_s = time.perf_counter() - start
    times = []
    for _ in range(2):
        jax.block_until_ready(step(variables, images))
    while len(times) < LEAST or (len(times) < RUNS and sum(times) < SECONDS):
        start = time.perf_counter()
        jax.block_until_ready(step(variables, images))
        times.append(time.perf_counter() - start)
    median = float(np.median(times))
    return {"batch": batch, "latency_ms": 1e3 * median, "latency_ms_min": 1e3 * min(times), "runs": len(times),
            "pictures_per_second": batch / median, "compile_s": compile_s, "peak_bytes": peak(step)}  # fmt: skip


def random_variables(model, images, rng):
    """Values as after an initialisation, roughly: what is computed with them stays finite, and none is very small."""
    noise = rng.normal(size=2**16).astype(np.float32)

    def draw(path, leaf):
        if path[-1].key in ("scale", "var"):
            return np.ones(leaf.shape, leaf.dtype)
        fan_in = max(1, int(np.prod(leaf.shape[:-1])))
        return np.resize(noise / np.sqrt(fan_in), leaf.shape).astype(leaf.dtype)

    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(model.init, key, images))


def peak(step) -> int | None:
    """Bytes of the arguments, results and temporaries of a compiled function; None where the backend does not say."""
    stats = step.memory_analysis()
    if stats is None:
        return None
    used = stats.argument_size_in_bytes + stats.output_size_in_bytes + stats.temp_size_in_bytes
    return used - stats.alias_size_in_bytes


def show(report):
    """The report as tables."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(100, console.width))  # do not wrap for a file or a pipe
    height, width, channels = report["picture"]
    fields = "".join(f", {name}={value}" for name, value in report["fields"].items())
    console.print(f"{report['model']}{fields}: {height}x{width}x{channels}, {report['classes']:,} classes, "
                  f"{report['precision']}", markup=False)  # fmt: skip
    columns = [("", "left"), ("class", "left"), ("output", "left")] + [(c, "right") for c in COUNTS]
    rows = [(row["name"], row["kind"], "x".join(map(str, row["output"])), *counts(row)) for row in report["rows"]]
    if not any(row["kind"] for row in report["rows"]):
        columns.pop(1)
        rows = [(row[0], *row[2:]) for row in rows]
    total = ("total", *[""] * (len(columns) - len(COUNTS) - 1), *counts(report))
    console.print(table(columns, rows, total))
    published = f" (published: {report['published_gmacs']} G)" if "published_gmacs" in report else ""
    statistics = report["statistics_bytes"]
    console.print(f"multiply-adds   {report['multiply_adds'] / 1e9:#.4g} G{published}\n"
                  f"parameters      {size_text(report['parameter_bytes'])}"
                  f"{', running statistics ' + size_text(statistics) if statistics else ''}\n"
                  f"training keeps  {size_text(report['kept_bytes_per_picture'])} a picture for the backward pass",
                  markup=False)  # fmt: skip
    if "measured" in report:
        console.print(f"\n{report['device']} ({report['platform']}, {report['cpus']} CPU cores), evaluation")
        columns = [(c, "right") for c in ("batch", "latency ms", "least ms", "runs", "pictures/s", "peak", "compile s")]
        rows = [(str(m["batch"]), f"{m['latency_ms']:.2f}", f"{m['latency_ms_min']:.2f}", str(m["runs"]),
                 f"{m['pictures_per_second']:,.1f}", size_text(m["peak_bytes"]), f"{m['compile_s']:.1f}")
                for m in report["measured"]]  # fmt: skip
        console.print(table(columns, rows))


COUNTS = ("parameters", "multiply-adds", "activations")


def counts(row) -> tuple[str, ...]:
    return tuple(f"{row[key]:,}" for key in ("parameters", "multiply_adds", "activations"))


def table(columns, rows, total=None) -> Table:
    made = Table(box=box.SIMPLE_HEAD, show_footer=total is not None, pad_edge=False)
    for i, (title, side) in enumerate(columns):
        made.add_column(title, justify=side, footer=total[i] if total else "", overflow="fold", no_wrap=side == "right")
    for row in rows:
        made.add_row(*row)
    return made


def size_text(nbytes: int | None) -> str:
    if nbytes is None:
        return "unknown"
    unit, power = ("MiB", 20) if nbytes >= 2**20 else ("KiB", 10)
    return f"{nbytes / 2**power:,.1f} {unit}"


if __name__ == "__main__":
    sys.exit(main())
