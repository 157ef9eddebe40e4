"""What the benchmarks measure with: contenders in turns, medians over rounds, peak memory, the machine."""

import os
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxcls.parallel import Parallel

Times = list[dict[str, float]]  # {"wall", "cpu"} in seconds, one a round


def interleave(contenders: Mapping[str, Callable[[int], object]], steps: int, rounds: int) -> dict[str, Times]:
    """The times of each contender, called with `steps` once a round; the order is reversed every other round."""
    times: dict[str, Times] = {name: [] for name in contenders}
    for i in range(rounds):
        for name in list(contenders)[:: -1 if i % 2 else 1]:
            wall, cpu = time.perf_counter(), time.process_time()
            contenders[name](steps)
            times[name].append({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu})
    return times


def ratio(a: Times, b: Times, key: str = "wall") -> float:
    """Median over rounds of a's time in units of b's."""
    return float(np.median([x[key] / y[key] for x, y in zip(a, b, strict=True)]))


def summary(times: Times, steps: int, batch: int) -> dict[str, float]:
    """Times of a step in ms (median and least of the rounds, CPU of all threads) and pictures a second (median)."""
    wall, cpu = (np.array([t[key] for t in times]) / steps * 1e3 for key in ("wall", "cpu"))
    return {
        "step_ms": float(np.median(wall)),
        "step_ms_min": float(wall.min()),
        "step_cpu_ms": float(np.median(cpu)),
        "pictures_per_second": batch / float(np.median(wall)) * 1e3,
    }


def speed(name: str, figures: dict[str, Any]) -> str:
    """A line of text for what `summary` gives."""
    return (
        f"{name:<18} {figures['step_ms']:.2f} ms (min {figures['step_ms_min']:.2f}, CPU {figures['step_cpu_ms']:.2f}), "
        f"{figures['pictures_per_second']:,.0f} pictures/s"
    )


def peak_memory(devices: Sequence[Any]) -> dict[str, Any]:
    """Most memory so far: of the fullest accelerator, or resident memory of this process on CPU."""
    stats = [device.memory_stats() or {} for device in devices]
    if all("peak_bytes_in_use" in s for s in stats):
        return {"peak_memory": "device", "peak_memory_bytes": max(s["peak_bytes_in_use"] for s in stats)}
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak_memory": "process", "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}


def machine(parallel: Parallel) -> dict[str, Any]:
    """What it ran on."""
    first = parallel.devices[0]
    return {
        "platform": first.platform,
        "device": first.device_kind,
        "devices": parallel.size,
        "cpus": os.cpu_count(),
        "jax": jax.__version__,
    }
