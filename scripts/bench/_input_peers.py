"""What input.py compares with: the usual ways to read and crop JPEG files. Needs no jaxcls.

    pillow          torchvision's transforms on Pillow images: Image.open, convert, crop, resize
    pillow-draft    the same after Image.draft, which has libjpeg decode at 1/2, 1/4 or 1/8 where that is enough
    tf.data         decode_and_crop_jpeg and resize of TensorFlow, as in the published ImageNet pipelines
    decode          simplejpeg's decoding alone, in full: the floor

Each runs in a process of its own, so that no library's allocator, threads or caches touch another's figures:

    python scripts/bench/_input_peers.py '{"peer": "pillow", "paths": [...], "job": "train", "size": 224, "batch": 64,
                                           "threads": 1, "workers": 0, "steps": 8}'

answers "ready", and then each line on its standard input with a round's {"start", "wall", "cpu"} as JSON.
"""

import argparse
import contextlib
import functools
import itertools
import json
import math
import multiprocessing
import multiprocessing.pool
import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

IN_FLIGHT = 8  # batches for each thread or process beside those that are counted, so that none runs dry at the end


def serve(spec: dict[str, Any], make: Callable[[dict], Any]) -> None:
    """Answers each line on the standard input with a round of `make(spec)`, an iterator over batches."""
    print("ready", flush=True)
    for _ in sys.stdin:
        with contextlib.closing(make(spec)) as batches:
            print(json.dumps(measure(batches, spec["steps"])), flush=True)


def measure(batches: Iterator, steps: int) -> dict[str, float]:
    """{"start", "wall", "cpu"} in seconds: to the first batch, and of the `steps` batches after it."""
    began = time.perf_counter()
    next(batches)
    wall, cpu = time.perf_counter(), cpu_seconds()
    for _ in range(steps):
        next(batches)
    return {"start": wall - began, "wall": time.perf_counter() - wall, "cpu": cpu_seconds() - cpu}


def cpu_seconds() -> float:
    """CPU time of this process and, where psutil is there to tell, of its living children."""
    total = time.process_time()
    try:
        import psutil
    except ImportError:
        return total
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            total += sum(child.cpu_times()[:2])
    return total


def total_batches(spec: dict[str, Any]) -> int:
    """How many batches a round may ask for."""
    return spec["steps"] + 1 + IN_FLIGHT * (spec["workers"] or spec["threads"])


def path_batches(spec: dict[str, Any]) -> Iterator[list[str]]:
    """Lists of paths, the files over and over."""
    paths = itertools.cycle(spec["paths"])
    return (list(itertools.islice(paths, spec["batch"])) for _ in range(total_batches(spec)))


def in_crowd(function: Callable, spec: dict[str, Any]) -> Iterator:
    """function(paths) of each batch, by threads or processes."""
    n: int = spec["threads"]
    make: Callable = multiprocessing.pool.ThreadPool
    if spec["workers"]:
        n, make = spec["workers"], multiprocessing.get_context("spawn").Pool
    with make(n) as pool:
        yield from pool.imap(function, path_batches(spec))


def pillow(spec: dict[str, Any], draft: bool = False) -> Iterator[np.ndarray]:
    """Batches through Pillow."""
    return in_crowd(functools.partial(pillow_batch, spec["job"], spec["size"], draft), spec)


def pillow_batch(job: str, size: int, draft: bool, paths: list[str]) -> np.ndarray:
    """uint8 [n, size, size, 3] of some files, as torchvision's transforms make them from Pillow images."""
    from PIL import Image

    pictures, bilinear = [], Image.Resampling.BILINEAR
    for path in paths:
        with Image.open(path) as file:
            wide, high = file.size
            left, top, right, bottom = random_box(wide, high) if job == "train" else (0, 0, wide, high)
            if draft:
                side = size if job == "train" else short_side(size)
                least = side / min(right - left, bottom - top)
                file.draft("RGB", (math.ceil(wide * least), math.ceil(high * least)))
            scale = file.size[0] / wide
            picture = file.convert("RGB")
        if job == "train":
            left, top, right, bottom = (round(scale * edge) for edge in (left, top, right, bottom))
            picture = picture.crop((left, top, right, bottom)).resize((size, size), bilinear)
        else:
            factor = short_side(size) / min(wide, high)
            wide, high = int(wide * factor), int(high * factor)
            picture = picture.resize((wide, high), bilinear)
            left, top = round((wide - size) / 2), round((high - size) / 2)
            picture = picture.crop((left, top, left + size, top + size))
        pictures.append(np.asarray(picture))
    return np.stack(pictures)


def random_box(width: int, height: int) -> tuple[int, int, int, int]:
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


def short_side(size: int) -> int:
    """256 for 224."""
    return round(size * 256 / 224)


def decode(spec: dict[str, Any]) -> Iterator[int]:
    """Batches of pictures decoded in full and dropped."""
    return in_crowd(decode_batch, spec)


def decode_batch(paths: list[str]) -> int:
    """The number of pixels of some files."""
    import simplejpeg

    pixels = 0
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            pixels += simplejpeg.decode_jpeg(file.read()).size
    return pixels


def tf_data(spec: dict[str, Any]) -> Iterator[Any]:
    """Batches through tf.data: bilinear without antialiasing, which is that pipeline's default."""
    import tensorflow as tf

    size, train = spec["size"], spec["job"] == "train"

    def read(path):
        encoded = tf.io.read_file(path)
        shape = tf.image.extract_jpeg_shape(encoded)
        if train:
            begin, extent, _ = tf.image.sample_distorted_bounding_box(
                shape,
                tf.zeros([1, 0, 4]),
                use_image_if_no_bounding_boxes=True,
                min_object_covered=0.0,
                area_range=(0.08, 1.0),
                aspect_ratio_range=(3 / 4, 4 / 3),
                max_attempts=10,
            )
            window = tf.concat([begin[:2], extent[:2]], 0)
        else:
            side = tf.cast(size / short_side(size) * tf.cast(tf.reduce_min(shape[:2]), tf.float32), tf.int32)
            window = tf.concat([(shape[:2] - side) // 2, [side, side]], 0)
        image = tf.image.decode_and_crop_jpeg(encoded, window, channels=3)
        return tf.cast(tf.image.resize(image, (size, size)), tf.uint8)

    options = tf.data.Options()
    options.threading.private_threadpool_size = spec["threads"]
    options.threading.max_intra_op_parallelism = 1
    files = tf.data.Dataset.from_tensor_slices(spec["paths"]).repeat()
    pictures = files.map(read, num_parallel_calls=spec["threads"]).batch(spec["batch"])
    yield from pictures.prefetch(1).with_options(options)


PEERS: dict[str, Callable] = {
    "pillow": pillow,
    "pillow-draft": functools.partial(pillow, draft=True),
    "tf.data": tf_data,
    "decode": decode,
}


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status, 3 where the peer is not installed."""
    spec = read_spec(__doc__, argv)
    if spec["peer"] == "tf.data":
        import os

        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        try:
            import tensorflow  # noqa: F401
        except ImportError:
            return 3
    serve(spec, PEERS[spec["peer"]])
    return 0


def read_spec(description: str, argv: list[str] | None) -> dict[str, Any]:
    """The one argument: a JSON object."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", type=json.loads, metavar="SPEC", help="a JSON object, as above")
    return parser.parse_args(argv).spec


if __name__ == "__main__":
    sys.exit(main())
