"""How long an answer takes on this machine: the run and its files in turns, so that what else runs here strikes all."""

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls.types import Figures

BATCHES = (1, 16)
SECONDS = 3.0  # for a batch size, of all that is measured together
LEAST, MOST = 3, 100  # turns


def measure(
    asked: Mapping[str, Callable[[np.ndarray], np.ndarray]],
    shape: tuple[int, int, int],
    batches: Sequence[int] = BATCHES,
    seconds: float = SECONDS,
) -> dict[str, dict[str, Figures]]:
    """Milliseconds of a call, in turns after one to warm up: about `seconds` a batch size.

    Args:
      asked: name -> function of uint8 pictures [n, h, w, c].
      shape: of a picture.
      batches: sizes of batches.
      seconds: for each of them; slow nets get no fewer than LEAST turns.

    Returns:
      name -> batch size, as text -> wall_p50, wall_p95, cpu_p50, cpu_p95 (of all threads; milliseconds a call), turns.
    """
    rng = np.random.default_rng(0)
    found: dict[str, dict[str, Figures]] = {name: {} for name in asked}
    for n in batches:
        images = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
        for ask in asked.values():
            ask(images)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in asked}
        begun = time.perf_counter()
        for turn in range(MOST):
            if turn >= LEAST and time.perf_counter() - begun > seconds:
                break
            for name, ask in asked.items():
                times[name].append(_timed(ask, images))
        for name, pairs in times.items():
            found[name][str(n)] = _quantiles(np.array(pairs))
    return found


def _timed(ask, images):
    ask(images)  # what ran before it in the turn has left cold caches: 0.25 ms for a net of 0.1
    wall, cpu = time.perf_counter(), time.process_time()
    ask(images)
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)


def _quantiles(pairs):
    middle, high = np.quantile(pairs, [0.5, 0.95], axis=0)
    names = ("wall_p50", "cpu_p50", "wall_p95", "cpu_p95")
    return {**dict(zip(names, map(float, (*middle, *high)), strict=True)), "turns": len(pairs)}


def machine() -> dict[str, Any]:
    """What the figures are of: processor, cores that this process may use, system, versions of what runs the files."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {name: _version(name) for name in ("jax", "onnx", "onnxruntime", "openvino") if _version(name)},
    }


def flags() -> set[str]:
    """The processor's features as Linux lists them; empty where that can't be read."""
    return set(_line("flags", "Features").split())


def lacks(target: str) -> str:
    """Why a file for a target (export.quantise) can't be judged here; "" where this machine has its instructions."""
    arm = platform.machine().lower() in ("aarch64", "arm64")
    if target == "arm" and not arm:
        return f"this machine is {platform.machine()}, no ARM"
    if target == "vnni" and not flags() & {"avx512_vnni", "avx_vnni"}:
        return "this processor has no VNNI, without which 8-bit weights saturate"
    return ""


def _cpu():
    return _line("model name") or platform.processor() or platform.machine()


def _line(*names):
    """What /proc/cpuinfo says first under one of these names; "" where there is no such file."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() in names:
                return value.strip()
    except OSError:
        pass
    return ""


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
