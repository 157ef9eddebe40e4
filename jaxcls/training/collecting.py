"""The outputs of an evaluation's batches put together, in little more memory than they take."""

import math
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcls.types import PathLike

ON_DISK_FROM = 2**26  # bytes of an array that is collected in a file rather than in memory


def collect(
    outputs: Iterable[dict[str, Any]], n: int, folder: PathLike | None = None, *, gaps: bool = False
) -> dict[str, np.ndarray]:
    """Outputs of evaluation batches as host arrays without the padding, one row an example.

    The arrays are made once and filled batch by batch, so they and a batch are all the memory that it takes. With a
    `folder` large ones lie in a nameless file there, which is gone when nothing refers to them any more.

    `gaps`: whether examples may be missing, since their pictures were skipped; `index` says which are there.

    Raises:
      RuntimeError: if that is not each of the n examples exactly once, in order.
    """
    result: dict[str, np.ndarray] = {}
    done = 0
    for out in outputs:
        out = {k: np.asarray(v) for k, v in jax.device_get(out).items()}
        real = out.pop("mask") > 0
        if not result:
            result = {k: _array((n, *v.shape[1:]), v.dtype, folder) for k, v in out.items()}
        stop = done + int(real.sum())
        index, last = out["index"][real], result["index"][done - 1] if done else -1
        ascending = bool((np.diff(index, prepend=last) > 0).all())
        if not (ascending if gaps else np.array_equal(index, np.arange(done, min(stop, n)))):
            raise RuntimeError("evaluation did not see every example exactly once")
        for k, v in out.items():
            result[k][done:stop] = v if real.all() else v[real]
        done = stop
    if done != n and not (gaps and done):
        raise RuntimeError("evaluation did not see every example exactly once")
    return result if done == n else {k: v[:done] for k, v in result.items()}


def _array(shape, dtype, folder):
    """An array to be filled; a large one in a nameless file, where there is a folder for it."""
    if folder is None or math.prod(shape) * dtype.itemsize < ON_DISK_FROM:
        return np.empty(shape, dtype)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:  # the mapping keeps it
            os.posix_fallocate(file.fileno(), 0, math.prod(shape) * dtype.itemsize)  # else a full disk is a SIGBUS
            return np.memmap(file, dtype, "r+", shape=shape)
    except (OSError, AttributeError):  # a disk that refuses, or a system without it: figures need no files
        return np.empty(shape, dtype)
