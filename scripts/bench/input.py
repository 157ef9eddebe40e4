"""Measures the input alone: pictures per second of CPU and of wall time, without a model, beside the usual pipelines.

    python scripts/bench/input.py --folder FOLDER           # JPEGs at any depth; without it 64 are made here
    taskset -c 0 python scripts/bench/input.py --folder FOLDER --rounds 5
    python scripts/bench/input.py --folder FOLDER --sizes as-is --threads 8 --reads 20000
    python scripts/bench/input.py --folder FOLDER --tf-python OTHER/bin/python    # an interpreter with TensorFlow

The pictures are enlarged to ImageNet's usual size, 500 x 375, and to 12 megapixels (`as-is`: not), and each size goes
through jaxcls and the pipelines of _input_peers.py. Two jobs: `train` (decode, random_resized_crop) and `eval` (decode,
resize, center_crop). `jaxcls` is the default, equal to Pillow's pixels, in `train` to a level where cykooz-resizer is
installed; `jaxcls-pillow` has resample='bilinear', `jaxcls-fast` resample='fast'; `packed` reads a packed file (256
pixels on the short side) with the same crop, `packed-copy` takes the middle from it, as where all cropping is left to
the device. `jaxcls-views` makes two crops of each picture from one decoding (config.ssl); "x one" compares it with
`jaxcls`, per picture that is read.

Every pipeline is a process of its own; they take turns, the order reversed every round; figures are medians over
rounds. CPU time is that of the process and its workers, without their start; "x floor" is how many times that of
decoding alone it is. The last lines are sets in device memory: rows are drawn on the host, pictures looked up on the
device.
"""

import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import _input_jaxcls as ours
import _input_peers as peers
import numpy as np
from _input_pictures import enlarge, jpegs, make_pictures

from jaxcls import augment
from jaxcls.cli.entry import entry_point
from jaxcls.data import packing

SIZES = {"500x375": (500, 375), "12Mpx": (4032, 3024)}
FEWER = 16  # times fewer reads and files of 12 megapixels
PACK = 256
TRAIN = (
    "decode",
    "jaxcls",
    "jaxcls-pillow",
    "jaxcls-fast",
    "jaxcls-views",
    "pillow",
    "pillow-draft",
    "tf.data",
    "packed",
    "packed-fast",
    "packed-copy",
)
EVAL = ("jaxcls", "pillow", "tf.data", "packed")


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    with tempfile.TemporaryDirectory() as temporary:
        result = run(args, Path(temporary))
    print(json.dumps(result, indent=1) if args.json else "\n".join(lines(result)))
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="JPEGs, at any depth")
    parser.add_argument("--sizes", nargs="+", choices=[*SIZES, "as-is"], default=[*SIZES], help="default both")
    parser.add_argument("--jobs", nargs="+", choices=["train", "eval"], default=["train", "eval"], help="default both")
    parser.add_argument("--size", type=int, default=224, help="side of the crops (default %(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="default %(default)s")
    parser.add_argument("--reads", type=int, default=768, help=f"in a round, {FEWER} times fewer of 12 megapixels")
    parser.add_argument("--rounds", type=int, default=5, help="default %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="reading threads of each pipeline (default %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="in place of them processes (not of tf.data)")
    parser.add_argument("--only", nargs="+", choices=TRAIN, default=TRAIN, help="pipelines (default all)")
    parser.add_argument("--tf-python", default=sys.executable, help="an interpreter that has TensorFlow")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    args = parser.parse_args(argv)
    if min(args.size, args.batch, args.reads, args.rounds, args.threads, args.workers + 1) < 1:
        parser.error("numbers must be at least 1")
    return args


def run(args: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """All measurements of a command line, as one dict."""
    originals = jpegs(args.folder or make_pictures(temporary / "made"))
    result = {
        "cpus": len(os.sched_getaffinity(0)),
        "size": args.size,
        "batch": args.batch,
        "rounds": args.rounds,
        "threads": args.threads,
        "workers": args.workers,
        "sets": [],
    }
    for name in args.sizes:
        fewer = FEWER if name == "12Mpx" else 1
        paths = originals
        if name in SIZES:
            paths = enlarge(originals[: math.ceil(len(originals) / fewer)], SIZES[name], temporary / name)
        result["sets"].append(measure_set(args, name, paths, math.ceil(args.reads / fewer), temporary))
    result["in_memory"] = [
        ours.in_memory(*a, args.rounds) for a in (("mnist", 60000, 28, 1), ("cifar10", 50000, 32, 3))
    ]
    return result


def measure_set(args: argparse.Namespace, name: str, paths: list[str], reads: int, temporary: Path) -> dict[str, Any]:
    """The figures of all pipelines on these files."""
    steps, pack = math.ceil(reads / args.batch), ""
    wanted = [(job, peer) for job in args.jobs for peer in (TRAIN if job == "train" else EVAL) if peer in args.only]
    if any(peer.startswith("packed") for _, peer in wanted):
        shrink = augment.smaller(PACK, channels=3)
        pack = packing.pack(ours.source_of(paths), temporary / "packed", shrink, PACK, note=lambda _: None).path
    spec = {
        "paths": paths,
        "pack": pack,
        "size": args.size,
        "batch": args.batch,
        "threads": args.threads,
        "workers": args.workers,
        "steps": steps,
    }
    times: dict[tuple[str, str], list] = {}
    missing = []
    with contextlib.ExitStack() as stack:
        crowd = {}
        for job, peer in wanted:
            crowd[job, peer] = stack.enter_context(Served({**spec, "job": job, "peer": peer}, args.tf_python))
        for job, peer in wanted:
            if crowd[job, peer].ready():
                times[job, peer] = []
            else:
                missing.append(peer)
                del crowd[job, peer]
        for i in range(args.rounds):
            for key in list(crowd)[:: -1 if i % 2 else 1]:
                times[key].append(crowd[key].round())
    return {
        "set": name,
        "files": len(paths),
        "mean_bytes": sum(map(os.path.getsize, paths)) / len(paths),
        "reads": steps * args.batch,
        "missing": sorted(set(missing)),
        "pipelines": [summary(key, times, steps * args.batch) for key in times],
    }


class Served:
    """A pipeline in a process of its own."""

    def __init__(self, spec: dict[str, Any], tf_python: str) -> None:
        if spec["peer"] in peers.PEERS:
            python = tf_python if spec["peer"] == "tf.data" else sys.executable
            command = [python, peers.__file__, json.dumps(spec)]
        else:
            command = [sys.executable, ours.__file__, json.dumps(spec)]
        self.peer = spec["peer"]
        self.process: Any = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ready(self) -> bool:
        """Waits for its start; False where it is not installed."""
        if self.process.stdout.readline() == "ready\n":
            return True
        if self.process.wait() != 3:
            raise RuntimeError(f"{self.peer} ended with status {self.process.returncode}")
        return False

    def round(self) -> dict[str, float]:
        """The times of a round."""
        self.process.stdin.write("round\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def summary(key: tuple[str, str], times: dict[tuple[str, str], list], reads: int) -> dict[str, Any]:
    """Medians of one pipeline, and how its CPU time compares with others of the same job, as medians of the rounds."""
    job, peer = key
    wall, cpu, start = (float(np.median([t[k] for t in times[key]])) for k in ("wall", "cpu", "start"))
    figures: dict[str, Any] = {
        "job": job,
        "peer": peer,
        "pictures_per_cpu_second": reads / cpu,
        "pictures_per_second": reads / wall,
        "start_s": start,
    }
    others = {"times_pillow": (job, "pillow"), "times_tf_data": (job, "tf.data"), "of_decode": ("train", "decode")}
    if peer == "jaxcls-views":
        others["of_one"] = (job, "jaxcls")
    for name, other in others.items():
        if other in times and other != key:
            ratio = float(np.median([b["cpu"] / a["cpu"] for a, b in zip(times[key], times[other], strict=True)]))
            figures[name] = 1 / ratio if name.startswith("of_") else ratio
    return figures


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The result as lines of text."""
    crowd = f"{result['workers']} process(es)" if result["workers"] else f"{result['threads']} thread(s)"
    yield f"{result['cpus']} CPU core(s), {crowd} a pipeline; to {result['size']} pixels; {result['rounds']} rounds"
    for s in result["sets"]:
        yield ""
        yield f"{s['set']}: {s['files']} files of {s['mean_bytes'] / 1e3:,.0f} kB; {s['reads']} reads a round"
        yield f"{'':<21}{'per CPU s':>10} {'per s':>8} {'x Pillow':>9} {'x tf.data':>9} {'x floor':>8}"
        for p in s["pipelines"]:
            columns = (("times_pillow", 9), ("times_tf_data", 9), ("of_decode", 8))
            ratios = (f"{p[k]:{w}.2f}" if k in p else " " * w for k, w in columns)
            rates = f"{p['pictures_per_cpu_second']:10,.0f} {p['pictures_per_second']:8,.0f}"
            one = f"   x one {p['of_one']:.2f}" if "of_one" in p else ""
            yield f"{p['job']:<6}{p['peer']:<15}{rates} {' '.join(ratios)}{one}".rstrip()
        for peer in s["missing"]:
            remedy = "pip install 'tensorflow-cpu>=2.21,<2.22', or --tf-python of another environment"
            yield f"{peer}: not installed, skipped ({remedy})"
    yield ""
    for m in result["in_memory"]:
        yield (
            f"{m['set']} in device memory: rows and lookup {m['pictures_per_second']:,.0f} pictures/s at batch "
            f"{m['batch']}; of the host {m['rows_us']:.0f} us a batch, {m['epoch_order_ms']:.1f} ms an epoch"
        )


if __name__ == "__main__":
    sys.exit(main())
