"""Time and memory of a compiled model."""

import time
from typing import Any

import jax
import numpy as np

from jaxcls.models.base import Classifier
from jaxcls.types import Array, PyTree

RUNS = 20  # at most, of each batch size; and at most SECONDS, but no fewer than LEAST
LEAST, SECONDS = 5, 10


def measure(model: Classifier, shape: tuple[int, ...], batch: int) -> dict[str, Any]:
    """Latency and memory of the compiled model in evaluation: medians of runs, after two to warm up.

    Args:
      model: the module.
      shape: of a picture, (height, width, channels), or of a clip, (frames, height, width, channels).
      batch: pictures at a time.
    """
    rng = np.random.default_rng(0)
    images = jax.device_put(rng.normal(size=(batch, *shape)).astype(np.float32))
    variables = jax.device_put(random_variables(model, images, rng))
    start = time.perf_counter()
    step = jax.jit(lambda v, x: model.apply(v, x, train=False)[0]).lower(variables, images).compile()
    compile_s = time.perf_counter() - start
    times: list[float] = []
    for _ in range(2):
        jax.block_until_ready(step(variables, images))
    while len(times) < LEAST or (len(times) < RUNS and sum(times) < SECONDS):
        start = time.perf_counter()
        jax.block_until_ready(step(variables, images))
        times.append(time.perf_counter() - start)
    median = float(np.median(times))
    return {
        "batch": batch,
        "latency_ms": 1e3 * median,
        "latency_ms_min": 1e3 * min(times),
        "runs": len(times),
        "pictures_per_second": batch / median,
        "compile_s": compile_s,
        "peak_bytes": peak_bytes(step),
    }


def random_variables(model: Classifier, images: Array, rng: np.random.Generator) -> PyTree:
    """Values as after an initialisation, roughly: what is computed with them stays finite, and none is very small."""
    noise = rng.normal(size=2**16).astype(np.float32)

    def draw(path, leaf):
        if path[-1].key in ("scale", "var"):
            return np.ones(leaf.shape, leaf.dtype)
        fan_in = max(1, int(np.prod(leaf.shape[:-1])))
        return np.resize(noise / np.sqrt(fan_in), leaf.shape).astype(leaf.dtype)

    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(model.init, key, images))


def peak_bytes(step: jax.stages.Compiled) -> int | None:
    """Bytes of the arguments, results and temporaries of a compiled function; None where the backend does not say."""
    stats = step.memory_analysis()
    if stats is None:
        return None
    used = stats.argument_size_in_bytes + stats.output_size_in_bytes + stats.temp_size_in_bytes
    return used - stats.alias_size_in_bytes
