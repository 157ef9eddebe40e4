"""Measures the input alone: pictures per second of CPU and of wall time, without a model, beside the usual pipelines.

    python scripts/bench_input.py --folder FOLDER           # JPEGs at any depth; without it 64 are made here
    taskset -c 0 python scripts/bench_input.py --folder FOLDER --rounds 5
    python scripts/bench_input.py --folder FOLDER --sizes as-is --threads 8 --reads 20000
    python scripts/bench_input.py --folder FOLDER --tf-python OTHER/bin/python    # an interpreter with TensorFlow

The pictures are enlarged to ImageNet's usual size, 500 x 375, and to 12 megapixels (`as-is`: not), and each size goes
through jaxcls and the pipelines of input_peers.py. Two jobs: `train` (decode, random_resized_crop) and `eval` (decode,
resize, center_crop). `jaxcls` is the default, antialiased and equal to Pillow's pixels; `jaxcls-fast` has
resample='fast'; `packed` reads a packed file (256 pixels on the short side) with the same crop, `packed-copy` takes the
middle from it, as where all cropping is left to the device. Every pipeline is a process of its own; they take turns,
the order reversed every round; figures are medians over rounds. CPU time is that of the process and its workers,
without their start; "x floor" is how many times that of decoding alone it is. The last lines are sets in device memory:
rows are drawn on the host, pictures looked up on the device.
"""

import argparse
import contextlib
import functools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import input_peers as peers

from jaxcls import augment
from jaxcls.cli.entry import entry_point
from jaxcls.data import packed, packing, pipeline
from jaxcls.data.folder import FolderSource
from jaxcls.errors import UserError

SIZES = {"500x375": (500, 375), "12Mpx": (4032, 3024)}
FEWER = 16  # times fewer reads and files of 12 megapixels
PACK = 256
TRAIN = (
    "decode", "jaxcls", "jaxcls-fast", "pillow", "pillow-draft", "tf.data", "packed", "packed-fast", "packed-copy",
)  # fmt: skip
EVAL = ("jaxcls", "pillow", "tf.data", "packed")


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    if args.serve:
        peers.serve(json.loads(args.serve), stream)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        result = run(args, Path(temporary))
    print(json.dumps(result, indent=1) if args.json else "\n".join(lines(result)))
    return 0


def parse(argv):
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
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if min(args.size, args.batch, args.reads, args.rounds, args.threads, args.workers + 1) < 1:
        parser.error("numbers must be at least 1")
    return args


def run(args, temporary):
    """All measurements of a command line, as one dict."""
    originals = jpegs(args.folder or make_pictures(temporary / "made"))
    result = {
        "cpus": len(os.sched_getaffinity(0)), "size": args.size, "batch": args.batch, "rounds": args.rounds,
        "threads": args.threads, "workers": args.workers, "sets": [],
    }  # fmt: skip
    for name in args.sizes:
        fewer = FEWER if name == "12Mpx" else 1
        paths = originals
        if name in SIZES:
            paths = enlarge(originals[: math.ceil(len(originals) / fewer)], SIZES[name], temporary / name)
        result["sets"].append(measure_set(args, name, paths, math.ceil(args.reads / fewer), temporary))
    result["in_memory"] = [in_memory(*a, args.rounds) for a in (("mnist", 60000, 28, 1), ("cifar10", 50000, 32, 3))]
    return result


def jpegs(folder):
    """Paths of the JPEGs of a folder."""
    found = sorted(str(p) for p in Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        raise UserError(f"--folder: there are no JPEGs in {folder}; name a folder of .jpg files.")
    return found


def make_pictures(folder, n=64, size=(256, 341)):
    """JPEGs of smoothed noise, about as hard to decode as photographs of that size. Returns the folder."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for i in range(n):
        coarse = Image.fromarray(draw.integers(0, 256, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC), np.int16)
        noisy = (smooth + draw.integers(-16, 17, smooth.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{i}.jpg", quality=90)
    return folder


def enlarge(paths, size, folder):
    """Pictures brought to width x height (upright ones to height x width), as JPEGs of quality 95. Returns paths."""
    from PIL import Image

    folder.mkdir()
    made = [str(folder / f"{i}.jpg") for i in range(len(paths))]
    for path, new in zip(paths, made, strict=True):
        with Image.open(path) as file:
            wanted = size if file.width >= file.height else size[::-1]
            file.convert("RGB").resize(wanted, Image.Resampling.BICUBIC).save(new, quality=95)
    return made


def measure_set(args, name, paths, reads, temporary):
    """The figures of all pipelines on these files."""
    steps, pack = math.ceil(reads / args.batch), ""
    wanted = [(job, peer) for job in args.jobs for peer in (TRAIN if job == "train" else EVAL) if peer in args.only]
    if any(peer.startswith("packed") for _, peer in wanted):
        shrink = augment.smaller(PACK, channels=3)
        pack = packing.pack(source_of(paths), temporary / "packed", shrink, PACK, note=lambda _: None).path
    spec = {
        "paths": paths, "pack": pack, "size": args.size, "batch": args.batch, "threads": args.threads,
        "workers": args.workers, "steps": steps,
    }  # fmt: skip
    times, missing = {}, []
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
        "set": name, "files": len(paths), "mean_bytes": sum(map(os.path.getsize, paths)) / len(paths),
        "reads": steps * args.batch, "missing": sorted(set(missing)),
        "pipelines": [summary(key, times, steps * args.batch) for key in times],
    }  # fmt: skip


class Served:
    """A pipeline in a process of its own."""

    def __init__(self, spec, tf_python):
        if spec["peer"] in peers.PEERS:
            python = tf_python if spec["peer"] == "tf.data" else sys.executable
            command = [python, peers.__file__, json.dumps(spec)]
        else:
            command = [sys.executable, __file__, "--serve", json.dumps(spec)]
        self.peer = spec["peer"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ready(self):
        """Waits for its start; False where it is not installed."""
        if self.process.stdout.readline() == "ready\n":
            return True
        if self.process.wait() != 3:
            raise RuntimeError(f"{self.peer} ended with status {self.process.returncode}")
        return False

    def round(self):
        """The times of a round."""
        self.process.stdin.write("round\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def source_of(paths, rows=None):
    """A FolderSource of files, repeated to so many rows."""
    root = os.path.dirname(paths[0]) if len({os.path.dirname(p) for p in paths}) == 1 else "/"
    ids = [os.path.relpath(path, root) for path in paths]
    ids = ids * math.ceil((rows or len(ids)) / len(ids))
    return FolderSource(root, ids, np.arange(len(ids)) % 2, ("a", "b"))


def stream(spec):
    """Batches through jaxcls; the order of an epoch is the same for every pipeline's first batch and any round."""
    size, batch, most = spec["size"], spec["batch"], peers.total_batches(spec)
    specs = [f"random_resized_crop({size}, resample='{'fast' if spec['peer'].endswith('fast') else 'bilinear'}')"]
    if spec["job"] == "eval" or spec["peer"] == "packed-copy":
        specs = [f"resize({peers.short_side(size)})", f"center_crop({size})"][spec["job"] == "train" :]
    transform = augment.host_transform([augment.parse(s) for s in specs], channels=3)
    if spec["peer"].startswith("packed"):
        source = packed.PackedSource(spec["pack"])
        rows = np.resize(np.arange(len(source)), batch * most)
    else:
        source = source_of(spec["paths"], batch * most)
        rows = np.arange(batch * most)
    return pipeline.Stream(
        source, transform, functools.partial(rows_of, rows, batch, spec["job"] == "train"),
        threads=spec["threads"] if not spec["workers"] else 1, workers=spec["workers"],
    ).batches(0, most)  # fmt: skip


def rows_of(rows, batch, random, step):
    """Batch `step` of some rows in order; with an epoch and a draw for random transforms."""
    draw = np.arange(step * batch, (step + 1) * batch, dtype=np.int32)
    found = {"index": rows[draw]}
    return {**found, "epoch": np.zeros(batch, np.int32), "draw": draw} if random else found


def summary(key, times, reads):
    """Medians of one pipeline, and how its CPU time compares with others of the same job, as medians of the rounds."""
    job, peer = key
    wall, cpu, start = (float(np.median([t[k] for t in times[key]])) for k in ("wall", "cpu", "start"))
    found = {
        "job": job, "peer": peer, "pictures_per_cpu_second": reads / cpu, "pictures_per_second": reads / wall,
        "start_s": start,
    }  # fmt: skip
    for other, name in (((job, "pillow"), "times_pillow"), (("train", "decode"), "of_decode")):
        if other in times and other != key:
            ratios = [b["cpu"] / a["cpu"] for a, b in zip(times[key], times[other], strict=True)]
            found[name] = float(np.median(ratios)) if name == "times_pillow" else 1 / float(np.median(ratios))
    return found


def in_memory(name, n, size, channels, rounds, batch=128, steps=100):
    """The path of sets in device memory: microseconds on the host for the rows of a batch, pictures a second in all."""
    import jax

    from jaxcls.parallel import Parallel

    parallel = Parallel(devices=1)  # independent calls in flight on several virtual devices can block each other
    data = {"image": np.zeros((n, size, size, channels), np.uint8), "label": np.zeros(n, np.int32)}
    data = parallel.replicate(data)
    look_up = parallel.compile(pipeline.lookup, (None, 0))
    rows = functools.partial(pipeline.train_rows, n=n, batch_size=batch)
    seconds = {"epoch": [], "rows": [], "all": []}
    for seed in range(rounds + 1):  # the first compiles
        moments = [time.perf_counter()]
        rows(0, seed=seed)  # draws the order of the epoch
        moments.append(time.perf_counter())
        for step in range(steps):
            rows(step, seed=seed)
        moments.append(time.perf_counter())
        for step in range(steps):
            out = look_up(data, parallel.split(rows(step, seed=seed)))
        jax.block_until_ready(out)
        moments.append(time.perf_counter())
        for key, took in zip(seconds, np.diff(moments), strict=True):
            seconds[key].append(float(took))
    epoch, host, total = (float(np.median(values[1:])) for values in seconds.values())
    return {
        "set": name, "pictures": n, "batch": batch, "epoch_order_ms": 1e3 * epoch,
        "rows_us": 1e6 * host / steps, "pictures_per_second": batch * steps / total,
    }  # fmt: skip


def lines(result):
    """The result as lines of text."""
    crowd = f"{result['workers']} process(es)" if result["workers"] else f"{result['threads']} thread(s)"
    yield f"{result['cpus']} CPU core(s), {crowd} a pipeline; to {result['size']} pixels; {result['rounds']} rounds"
    for s in result["sets"]:
        yield ""
        yield f"{s['set']}: {s['files']} files of {s['mean_bytes'] / 1e3:,.0f} kB; {s['reads']} reads a round"
        yield f"{'':<21}{'per CPU s':>10} {'per s':>8} {'x Pillow':>9} {'x floor':>8}"
        for p in s["pipelines"]:
            ratios = (f"{p[k]:{w}.2f}" if k in p else " " * w for k, w in (("times_pillow", 9), ("of_decode", 8)))
            rates = f"{p['pictures_per_cpu_second']:10,.0f} {p['pictures_per_second']:8,.0f}"
            yield f"{p['job']:<6}{p['peer']:<15}{rates} {' '.join(ratios)}".rstrip()
        for peer in s["missing"]:
            yield f"{peer}: not installed, skipped (pip install -e '.[tf]', or --tf-python of another environment)"
    yield ""
    for m in result["in_memory"]:
        yield (
            f"{m['set']} in device memory: rows and lookup {m['pictures_per_second']:,.0f} pictures/s at batch "
            f"{m['batch']}; of the host {m['rows_us']:.0f} us a batch, {m['epoch_order_ms']:.1f} ms an epoch"
        )


if __name__ == "__main__":
    sys.exit(main())
