"""Measures the input alone: pictures per second of wall and of CPU time, without a model.

    python scripts/bench_input.py --folder FOLDER           # pictures of class folders, or of one flat folder
    python scripts/bench_input.py                           # no pictures of your own: 64 made here, 256 x 341
    python scripts/bench_input.py --folder FOLDER --threads 8 16 --workers 4 8 --reads 20000

Three jobs: `train` (decode, random_resized_crop), `eval` (decode, resize, center_crop) and `decode` alone, the floor.
Each through jaxcls' stream in reading threads and in worker processes; the first two also through a loader as it is
usual with PyTorch: Pillow, with torchvision's RandomResizedCrop, Resize and CenterCrop, in as many threads or processes
(which send their batches through a pipe). All take turns, the order reversed every round; figures are medians over
rounds. CPU time is that of this process and of its workers, without their start. The last lines are the other path,
for sets that lie in device memory: rows are drawn on the host, pictures looked up on the device.
"""

import argparse
import contextlib
import functools
import json
import math
import multiprocessing
import multiprocessing.pool
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from jaxcls import augment
from jaxcls.data import pipeline
from jaxcls.data.folder import SUFFIXES, FolderSource
from jaxcls.errors import UserError

JOBS = ("train", "eval", "decode")
IN_FLIGHT = 8  # batches for each thread or process that exist beside those counted, so that none runs dry at the end


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            result = run(args, Path(temporary))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result, indent=1) if args.json else "\n".join(lines(result)))
    return 0


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="pictures: class folders, or one flat folder")
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=JOBS, help="default all")
    parser.add_argument("--size", type=int, default=224, help="side of the crops (default %(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="default %(default)s")
    parser.add_argument("--reads", type=int, default=1024, help="pictures read in a round (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="default %(default)s")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2], help="numbers of threads (default 1 2)")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], help="numbers of processes (default 1 2)")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    args = parser.parse_args(argv)
    if min(args.size, args.batch, args.reads, args.rounds, *args.threads, *args.workers) < 1:
        parser.error("numbers must be at least 1")
    return args


def run(args, temporary):
    """All measurements of a command line, as one dict."""
    crowds = [("threads", n) for n in args.threads] + [("workers", n) for n in args.workers]
    steps = math.ceil(args.reads / args.batch)
    most = steps + 1 + IN_FLIGHT * max([n for _, n in crowds], default=0)
    source, files = open_pictures(args.folder or make_pictures(temporary), most * args.batch)
    contenders = {}
    for job in args.jobs:
        for crowd in crowds:
            contenders[job, *crowd, "jaxcls"] = functools.partial(stream, source, job, args, *crowd, most)
            if job != "decode":
                contenders[job, *crowd, "Pillow"] = functools.partial(pillow, source, job, args, *crowd, most)
    times = {key: [] for key in contenders}
    for i in range(args.rounds):
        for key in list(contenders)[:: -1 if i % 2 else 1]:
            with contextlib.closing(contenders[key]()) as batches:
                times[key].append(measure(batches, steps))
    found = [summary(key, times, steps * args.batch) for key in contenders]
    return {
        "cpus": os.cpu_count(), "files": files, "mean_bytes": mean_bytes(source, files), "size": args.size,
        "batch": args.batch, "reads": steps * args.batch, "rounds": args.rounds, "streams": found,
        "in_memory": [in_memory(*shape, args.rounds) for shape in (("mnist", 60000, 28, 1), ("cifar10", 50000, 32, 3))],
    }  # fmt: skip


def open_pictures(path, n):
    """(FolderSource of the pictures of a folder at any depth, repeated to n rows at least; number of files)."""
    ids = sorted(str(p.relative_to(path)) for p in Path(path).rglob("*") if p.suffix.lower() in SUFFIXES)
    if not ids:
        raise UserError(f"--folder: there are no pictures in {path}; name a folder of JPEG or PNG files.")
    rows = ids * math.ceil(n / len(ids))
    return FolderSource(str(path), rows, np.arange(len(rows)) % 2, ("a", "b")), len(ids)


def make_pictures(folder, n=64, size=(256, 341)):
    """JPEGs of smoothed noise, about as hard to decode as photographs of that size. Returns the folder."""
    from PIL import Image

    draw = np.random.default_rng(0)
    for i in range(n):
        coarse = Image.fromarray(draw.integers(0, 256, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC), np.int16)
        noisy = (smooth + draw.integers(-16, 17, smooth.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{i}.jpg", quality=90)
    return folder


def mean_bytes(source, files):
    """Mean size of the files."""
    return sum(os.path.getsize(os.path.join(source.root, name)) for name in source.ids[:files]) / files


def stream(source, job, args, kind, n, steps):
    """Batches through jaxcls."""
    specs = {
        "train": [f"random_resized_crop({args.size})"],
        "eval": [f"resize({short_side(args.size)})", f"center_crop({args.size})"],
        "decode": ["center_crop(1)"],  # a batch needs pictures of one size, and this costs nothing
    }[job]
    transform = augment.host_transform([augment.parse(spec) for spec in specs], channels=3)
    rows = functools.partial(pipeline.eval_rows, n=len(source), batch_size=args.batch)
    if job == "train":
        rows = functools.partial(pipeline.train_rows, n=len(source), batch_size=args.batch, seed=0)
    number = {"threads": n} if kind == "threads" else {"workers": n, "threads": 1}
    return pipeline.Stream(source, transform, rows, **number).batches(0, steps)


def pillow(source, job, args, kind, n, steps):
    """Batches through Pillow, in threads or processes."""
    paths = [os.path.join(source.root, name) for name in source.ids]
    batches = [paths[i * args.batch : (i + 1) * args.batch] for i in range(steps)]
    make = multiprocessing.pool.ThreadPool if kind == "threads" else multiprocessing.get_context("spawn").Pool
    with make(n) as pool:
        yield from pool.imap(functools.partial(pillow_batch, job, args.size), batches)


def pillow_batch(job, size, paths):
    """uint8 [n, size, size, 3] of some files, as torchvision's transforms make them from Pillow images."""
    from PIL import Image

    pictures = []
    for path in paths:
        with Image.open(path) as file:
            picture = file.convert("RGB")
        if job == "train":
            picture = picture.resize((size, size), Image.Resampling.BILINEAR, box=random_box(*picture.size))
        else:
            factor = short_side(size) / min(picture.size)
            wide, high = (int(side * factor) for side in picture.size)
            picture = picture.resize((wide, high), Image.Resampling.BILINEAR)
            left, top = round((wide - size) / 2), round((high - size) / 2)
            picture = picture.crop((left, top, left + size, top + size))
        pictures.append(np.asarray(picture))
    return np.stack(pictures)


def random_box(width, height):
    """The box of torchvision's RandomResizedCrop: (left, top, right, bottom)."""
    for _ in range(10):
        area = width * height * random.uniform(0.08, 1)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            return left, top, left + w, top + h
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, (width + side) // 2, (height + side) // 2


def short_side(size):
    """256 for 224."""
    return round(size * 256 / 224)


def measure(batches, steps):
    """{"start", "wall", "cpu"} in seconds: to the first batch, and of the `steps` batches after it."""
    began = time.perf_counter()
    next(batches)
    wall, cpu = time.perf_counter(), cpu_seconds()
    for _ in range(steps):
        next(batches)
    return {"start": wall - began, "wall": time.perf_counter() - wall, "cpu": cpu_seconds() - cpu}


def cpu_seconds():
    """CPU time of this process and of its living children."""
    import psutil

    total = time.process_time()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            total += sum(child.cpu_times()[:2])
    return total


def summary(key, times, reads):
    """Medians of one contender; with a Pillow loader beside it, how many times as many pictures jaxcls reads."""
    job, kind, n, loader = key
    wall, cpu, start = (float(np.median([t[k] for t in times[key]])) for k in ("wall", "cpu", "start"))
    found = {
        "job": job, "loader": loader, kind: n, "pictures_per_second": reads / wall,
        "pictures_per_cpu_second": reads / cpu, "start_s": start,
    }  # fmt: skip
    peer = times.get((job, kind, n, "Pillow"))
    if peer and loader == "jaxcls":
        for name in ("wall", "cpu"):
            found[f"times_as_fast_{name}"] = float(
                np.median([b[name] / a[name] for a, b in zip(times[key], peer, strict=True)])
            )
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
    yield (
        f"{result['cpus']} CPU cores; {result['files']} files of {result['mean_bytes'] / 1e3:.0f} kB, "
        f"to {result['size']} pixels; {result['rounds']} rounds of {result['reads']} reads, batch {result['batch']}"
    )
    yield f"{'':<28} {'pictures/s':>10} {'per CPU s':>10} {'start s':>8}"
    for s in result["streams"]:
        crowd = f"{s['threads']} thread(s)" if "threads" in s else f"{s['workers']} worker(s)"
        rates = f"{s['pictures_per_second']:10,.0f} {s['pictures_per_cpu_second']:10,.0f}"
        line = f"{s['job']:<7}{s['loader']:<8}{crowd:<13} {rates} {s['start_s']:8.2f}"
        if "times_as_fast_wall" in s:
            line += f"  {s['times_as_fast_wall']:.2f} times as fast as Pillow (CPU {s['times_as_fast_cpu']:.2f})"
        yield line
    for m in result["in_memory"]:
        yield (
            f"{m['set']} in device memory: rows and lookup {m['pictures_per_second']:,.0f} pictures/s at batch "
            f"{m['batch']}; of the host {m['rows_us']:.0f} us a batch, {m['epoch_order_ms']:.1f} ms an epoch"
        )


if __name__ == "__main__":
    sys.exit(main())
