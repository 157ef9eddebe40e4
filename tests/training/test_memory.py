"""What an evaluation takes beside the logits, measured in a process of its own."""

import subprocess
import sys

import pytest

SCRIPT = """
import json, resource, sys, types
import jax.numpy as jnp
import numpy as np
from jaxcls.data.base import ArraySource
from jaxcls.parallel import Parallel
from jaxcls.tasks.supervised import Supervised
from jaxcls.training import predictions
from jaxcls.training.evaluate import Measure
from jaxcls.training.feed import MemoryEvalFeed
from jaxcls.training.step import make_eval_step

N, CLASSES = 2000, 20_000

class Waves(Supervised):
    def predict(self, state, batch):
        place = batch["index"][:, None] * 0.37 + jnp.arange(CLASSES, dtype=jnp.float32)[None] * 1.7
        return {"logits": state["scale"] * jnp.sin(place)}

def peak_after(n):
    names = [str(i) for i in range(n)]
    source = ArraySource(np.zeros((n, 1, 1, 1), np.uint8), np.arange(n) % CLASSES, ("a",) * CLASSES, names)
    feed = MemoryEvalFeed(make_eval_step(task), source, over, batch_size=100)
    run = types.SimpleNamespace(task=task, eval_feed=lambda split: feed)
    figures, outputs = Measure(run, "test", sys.argv[1])(over.replicate({"scale": np.float32(3)}))
    predictions.save(sys.argv[1], "test", n, outputs, figures)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

task, over = Waves(None), Parallel("jit", 1)
before = peak_after(100)
print((peak_after(N) - before) / (N * CLASSES * 4))
"""


@pytest.mark.slow
def test_an_evaluation_takes_little_more_memory_than_its_logits(tmp_path):
    out = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=True, timeout=300
    )
    assert float(out.stdout.split()[-1]) < 1.3
