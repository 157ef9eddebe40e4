"""How a model is asked: worker threads, threads of one answer, sizes of batches; measured at the start.

On CPUs ONNX Runtime gains little by batches, and by several threads for one answer less than by several answers at a
time; XLA gains much by batches. Both depend on the net, so it is measured, in turns since machines are not idle.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from jaxcls.serve import artefacts
from jaxcls.serve.artefacts import Served

SIZES = (1, 8, 32)  # as predict.predictor compiles them
BATCH = 8  # that is tried for files on CPUs
GAIN = 0.9  # of the time that another way must take to be chosen: less is chance, and larger batches answer later
LONGEST = (
    4.0  # seconds of a batch on a CPU, reckoned from a smaller one, that is not tried: who comes next waits for it
)
BUDGET = 1.0  # seconds of measuring a file, after warming up
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of cgroups of version 2: "microseconds period", or "max period"
TURN = 0.02  # seconds at least of what is timed


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a model is asked.

    Attributes:
      workers: threads that ask it at the same time.
      threads: that compute one answer; 0 where the backend has its own.
      seconds: of an answer to a batch, by its size: the sizes that are used, ascending. What lies between two of them
        is padded, or of the largest one alone costs no more.
      line: what was chosen, and what was measured, for people.
    """

    workers: int
    threads: int
    seconds: dict[int, float]
    line: str

    @property
    def reads(self) -> bool:
        """Whether the workers decode pictures, too: they are one a core, and others would only be in their way."""
        return self.threads == 1

    def take(self, waiting: int) -> int:
        """How many of the waiting pictures (1 or more) make the next batch: what costs least a picture."""
        size = min(self.seconds, key=lambda size: self.seconds[size] / min(waiting, size))
        return min(waiting, size)


def cores(share: int = 1) -> int:
    """Those that this process may use (affinity, cgroup quota), shared by some processes; at least 1."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text().split()
        found = min(found, int(quota) // int(period))
    except (OSError, ValueError):  # "max", or no cgroups of version 2
        pass
    return max(1, found // share)


def choose(served: Served, share: int = 1) -> tuple[Served, Plan]:
    """Measures, and so warms up: all sizes are compiled. A second or two for files, for runs as long as they compile.

    Gives the model again, a file with as many threads as were chosen.

    Args:
      served: the model; a file opened with a thread a core.
      share: processes that share the cores.

    Raises:
      UserError: where the model can't answer.
    """
    if served.backend == artefacts.ONNX and served.device in ("", "cpu"):
        return _ways(served, cores(share))
    return served, _sizes(served)


def warm(served: Served, plan: Plan) -> None:
    """A newer version answers a batch of each size. Raises UserError where it can't."""
    for size in plan.seconds:
        served.answer(_pictures(served, size), 1)


def _pictures(served, size):
    """Made ones: random, since for some nets zeros are faster (denormals, sparse kernels)."""
    return np.random.default_rng(0).integers(0, 256, (size, *served.predictor.picture), np.uint8)


def _ways(served, count):
    """A file on a CPU, opened for all cores: (workers, threads, batch) of several ways to use them, in turns."""
    single = served
    if count > 1:
        single = artefacts.open_model(served.path, served.name, served.device, 1, served.foreign)
    opened = {count: served, 1: single}
    sizes = single.predictor.sizes
    usual = (count, 1, sizes[0])
    ways = [usual, (1, count, sizes[0])] if count > 1 else [usual]
    if len(sizes) > 1 and _once(single, 1) * BATCH < BUDGET:
        ways.append((count, 1, BATCH))
    seconds = _measured({way: opened[way[1]] for way in ways})
    best = min(seconds, key=lambda way: seconds[way])
    if seconds[best] > GAIN * seconds[usual]:
        best = usual
    told = ", ".join(f"{_told(*way)}: {1 / took:,.0f}/s" for way, took in seconds.items())
    workers, threads, size = best
    plan = Plan(workers, threads, {size: seconds[best] * size * workers}, f"{_told(*best)} (pictures a second: {told})")
    return opened[threads], plan


def _told(workers, threads, size):
    return f"{workers} x {threads} thread{'s' * (threads > 1)}, batch {size}"


def _once(served, size):
    """Seconds of an answer to a batch after one to warm up: the least of two, of slow ones the only one."""
    images = _pictures(served, size)
    served.answer(images, 1)
    times: list[float] = []
    while not times or (len(times) < 2 and times[0] < BUDGET / 4):
        begun = time.perf_counter()
        served.answer(images, 1)
        times.append(time.perf_counter() - begun)
    return min(times)


def _measured(ways: dict[tuple[int, int, int], Served]) -> dict[tuple[int, int, int], float]:
    """Seconds a picture of each way, the least of some turns: all its workers answer at the same time."""
    repeats = {way: math.ceil(TURN / _once(served, way[2])) for way, served in ways.items()}
    least = dict.fromkeys(ways, math.inf)
    begun, turn = time.perf_counter(), 0
    with ThreadPoolExecutor(max(way[0] for way in ways)) as pool:
        while turn < 2 or time.perf_counter() - begun < BUDGET:
            for way, served in ways.items():
                workers, _, size = way
                images = _pictures(served, size)
                ask = lambda: [served.answer(images, 1) for _ in range(repeats[way])]  # noqa: B023, E731 - awaited here
                start = time.perf_counter()
                for future in [pool.submit(ask) for _ in range(workers)]:
                    future.result()
                least[way] = min(least[way], (time.perf_counter() - start) / (workers * size * repeats[way]))
            turn += 1
    return least


def _sizes(served):
    """What compiles, or runs on an accelerator: one worker; on a CPU no larger batches than are worth it."""
    seconds: dict[int, float] = {}
    tried = []
    for size in SIZES:
        last = max(seconds, default=0)
        if _on_cpu(served) and last and seconds[last] / last * size > LONGEST:
            break
        took = _once(served, size)
        tried.append(f"{size}: {size / took:,.0f}/s")
        if _on_cpu(served) and last and took / size > GAIN * seconds[last] / last:
            break
        seconds[size] = took
    sizes = " or ".join(map(str, seconds))
    return Plan(1, 0, seconds, f"1 worker, batches of {sizes} (pictures a second: {', '.join(tried)})")


def _on_cpu(served):
    if served.backend == artefacts.ONNX:
        return served.device in ("", "cpu")
    import jax

    return jax.default_backend() == "cpu"
