"""jaxcls's pipelines for input.py; as a command a process that serves one, like _input_peers.py:

python scripts/bench/_input_jaxcls.py '{"peer": "jaxcls", "paths": [...], ...}'
"""

import functools
import math
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import _input_peers as peers
import numpy as np

from jaxcls import augment
from jaxcls.data import packed, pipeline
from jaxcls.data.folder import FolderSource


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    spec = peers.read_spec(__doc__, argv)
    peers.serve(spec, stream)
    return 0


def source_of(paths: list[str], rows: int | None = None) -> FolderSource:
    """A FolderSource of files, repeated to so many rows."""
    root = os.path.dirname(paths[0]) if len({os.path.dirname(p) for p in paths}) == 1 else "/"
    ids = [os.path.relpath(path, root) for path in paths]
    ids = ids * math.ceil((rows or len(ids)) / len(ids))
    return FolderSource(root, ids, np.arange(len(ids)) % 2, ("a", "b"))


def stream(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Batches through jaxcls; the order of an epoch is the same for every pipeline's first batch and any round."""
    size, batch, most = spec["size"], spec["batch"], peers.total_batches(spec)
    resample = {"fast": "fast", "pillow": "bilinear"}.get(spec["peer"].partition("-")[2], "auto")
    specs = [f"random_resized_crop({size}, resample='{resample}')"]
    if spec["job"] == "eval" or spec["peer"] == "packed-copy":
        specs = [f"resize({peers.short_side(size)})", f"center_crop({size})"][spec["job"] == "train" :]
    transform = augment.host_transform([augment.parse(s) for s in specs], channels=3)
    if spec["peer"].startswith("packed"):
        source: Any = packed.PackedSource(spec["pack"])
        rows = np.resize(np.arange(len(source)), batch * most)
    else:
        source = source_of(spec["paths"], batch * most)
        rows = np.arange(batch * most)
    return pipeline.Stream(
        source,
        transform,
        functools.partial(rows_of, rows, batch, spec["job"] == "train"),
        threads=spec["threads"] if not spec["workers"] else 1,
        workers=spec["workers"],
        views=2 if spec["peer"] == "jaxcls-views" else 0,
    ).batches(0, most)


def rows_of(rows: np.ndarray, batch: int, random: bool, step: int) -> dict[str, np.ndarray]:
    """Batch `step` of some rows in order; with an epoch and a draw for random transforms."""
    draw = np.arange(step * batch, (step + 1) * batch, dtype=np.int32)
    numbers = {"index": rows[draw]}
    return {**numbers, "epoch": np.zeros(batch, np.int32), "draw": draw} if random else numbers


def in_memory(
    name: str, n: int, size: int, channels: int, rounds: int, batch: int = 128, steps: int = 100
) -> dict[str, Any]:
    """The path of sets in device memory: microseconds on the host for the rows of a batch, pictures a second in all."""
    import jax

    from jaxcls.parallel import Parallel

    parallel = Parallel(devices=1)  # independent calls in flight on several virtual devices can block each other
    data = {"image": np.zeros((n, size, size, channels), np.uint8), "label": np.zeros(n, np.int32)}
    data = parallel.replicate(data)
    look_up = parallel.compile(pipeline.lookup, (None, 0))
    rows = functools.partial(pipeline.train_rows, n=n, batch_size=batch)
    seconds: dict[str, list[float]] = {"epoch": [], "rows": [], "all": []}
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
        "set": name,
        "pictures": n,
        "batch": batch,
        "epoch_order_ms": 1e3 * epoch,
        "rows_us": 1e6 * host / steps,
        "pictures_per_second": batch * steps / total,
    }


if __name__ == "__main__":
    sys.exit(main())
