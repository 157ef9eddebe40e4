"""The compiled training step of a config or a model, as a run calls it, for step.py, augment.py and gpu.py."""

import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcls.data.base import ArraySource
from jaxcls.defaults import default_config
from jaxcls.settings import config_file
from jaxcls.training.run import Run


def config_of_file(name: str, *, data: str = "", batch: int = 0, precision: str = "", parallel: str = "") -> ConfigDict:
    """The config of `FILE` or `FILE:ARG`, with what is given set. Raises UserError for a file that is none."""
    config = config_file.load(name)
    config.data.name = data or config.data.name
    config.batch_size = batch or config.batch_size
    config.precision = precision or config.precision
    config.parallel.mode = parallel or config.parallel.mode
    return config


def config_of_model(
    name: str, *, classes: int = 1000, channels: int = 3, batch: int = 0, precision: str = "", parallel: str = ""
) -> ConfigDict:
    """The default config with a model; its data are a stand-in for `random_pictures`."""
    config = default_config()
    config.model.name, config.batch_size, config.data.validation = name, batch or 32, 0.0
    config.precision = precision or config.precision
    config.parallel.mode = parallel or config.parallel.mode
    config.data.normalize, config.data.device_memory = "imagenet" if channels == 3 else "mnist", 2**40
    config.data.name = f"synthetic/{max(config.batch_size, classes)}x1x{channels}x{classes}"  # one pixel each
    return config


def random_pictures(n: int, size: int, channels: int, classes: Sequence[str]) -> ArraySource:
    """n pictures of noise."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (n, size, size, channels), dtype=np.uint8)
    return ArraySource(images, random.integers(0, len(classes), n), tuple(classes), [""] * n)


class Step:
    """The compiled step of a run, as its training feed calls it. `state` is the newest state: steps donate it."""

    def __init__(self, run: Run) -> None:
        self.run, self.done = run, 0
        self.feed: Any = run.train_feed()
        self.state = self._fresh()
        self.evaluation: Any = None

    def compile(self) -> dict[str, Any]:
        """Compiles and runs the first step.

        Returns:
          dict: compile_s (tracing, lowering and compiling), flops_per_step of all devices by XLA's cost analysis of the
          compiled step (what it does not know, such as custom calls, is missing), temporary_bytes of one device.
        """
        compiled, figures = self.feed.compiled, {}

        def spy(*args):
            began = time.perf_counter()
            executable = compiled.lower(*args).compile()  # `compiled(*args)` finds it in jit's cache
            figures["compile_s"] = time.perf_counter() - began
            cost, memory = executable.cost_analysis() or {}, executable.memory_analysis()
            figures["flops_per_step"] = float(cost.get("flops", 0)) * self.run.parallel.size
            figures["temporary_bytes"] = getattr(memory, "temp_size_in_bytes", None)
            return compiled(*args)

        self.feed.compiled = spy
        self.round(1)
        self.feed.compiled = compiled
        return figures

    def restart(self) -> None:
        """Goes back to a fresh state and the first batch."""
        self.state, self.done = self._fresh(), 0

    def round(self, steps: int) -> None:
        """That many steps back to back; waits for the last one."""
        end = self.done + steps
        while self.done < end:
            self.state, values, n = self.feed(self.state, self.done, end)
            self.done += n
        jax.block_until_ready((self.state, values))

    def forward(self, steps: int) -> None:
        """That many evaluations of the batch, with the logits fetched."""
        self.evaluation = self.evaluation or self.run.eval_feed("train")
        for _ in range(steps):
            self.evaluation(self.state)

    def pictures(self) -> tuple[np.ndarray, np.ndarray]:
        """A batch of training pictures and labels, as host arrays."""
        source = self.run.data.sources["train"]
        items = [source[i] for i in range(self.run.training.batch_size)]
        return np.stack([item["image"] for item in items]), np.array([item["label"] for item in items])

    def _fresh(self):
        return self.run.parallel.replicate(self.run.first_state()[0])
