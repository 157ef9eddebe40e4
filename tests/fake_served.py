"""Models that answer at once, or slowly, or badly: what batching and the registry are tried with."""

import asyncio
import contextlib
import functools
import itertools
import threading
import time

import numpy as np

from jaxcls.errors import UserError
from jaxcls.serve.artefacts import Served
from jaxcls.serve.choosing import Plan
from jaxcls.serve.registry import Registry

NUMBERS = itertools.count()
POISON, NAN = 255, 254  # pictures of these levels make a batch fail, or one row


class Fake:
    """A predictor of pictures [1, 1, 1]: the class is the level, and `version` who answered."""

    name, classes, step, averaged, output, decision, data = "fake", ("a", "b"), 1, False, "softmax", None, "folder/x"
    picture, notes, title, explains, decides = (1, 1, 1), ["of folder/x"], "fake, step 1", None, False
    clips = False
    unexplained = "they need a model"

    def __init__(self, version="1", seconds=0.0):
        self.version, self.seconds = version, seconds
        self.batches, self.gate, self.entered = [], threading.Event(), threading.Event()
        self.gate.set()

    def prepare(self, image, name=""):
        if image == b"broken":
            raise UserError(f"{name}: is no picture")
        return level(image[0])

    def __call__(self, images, top=5):
        self.entered.set()
        self.gate.wait(20)
        self.batches.append(images.ravel().tolist())
        time.sleep(self.seconds)
        if (images == POISON).any():
            raise ValueError("poison")
        rows = [{"class": int(x), "top": list(range(top)), "by": self.version} for x in images.ravel()]
        return [{"error": "not finite"} if row["class"] == NAN else row for row in rows]


def level(value):
    return np.full((1, 1, 1), value, np.uint8)


def put(fakes, version="1", name="fake", seconds=0.0):
    """A version at the place of a model (fixture `fakes`), with a stamp of its own."""
    path = f"/somewhere/{name}.onnx"
    fakes[path] = made = served(Fake(version, seconds), name, version, ((path, next(NUMBERS), 0, 0),))
    return made


@contextlib.asynccontextmanager
async def running(models, **settings):
    """A registry of models that has warmed them up."""
    found = Registry(models, **{"poll": 0, "note": lambda line: None} | settings)
    await found.start()
    try:
        await asyncio.wait_for(found.settled.wait(), 20)
        yield found
    finally:
        await found.stop()


async def until(true, seconds=20):
    """Waits until `true()`."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.002)


def served(predictor, name="fake", version="1", stamp=()):
    return Served(name, version, f"/somewhere/{name}.onnx", "onnxruntime", predictor, stamp)


PLAN = Plan(2, 2, {4: 0.001}, "a plan")  # pictures are decoded by readers
READING = Plan(2, 1, {4: 0.001}, "a plan")  # by the workers


def save_step(workdir, step, *, scale=1.0):
    """A finished checkpoint of a tiny net for pictures of 16 by 16; gives its classes. `scale`: of its weights."""
    import jax

    from jaxcls.checkpoints.store import Checkpoints
    from jaxcls.training import loop

    job, state = _tiny()
    state = state.replace(step=state.step + step, params=jax.tree.map(lambda x: scale * x, state.params))
    checkpoints = Checkpoints(workdir)
    checkpoints.save(job.parallel.replicate(state), loop.meta_of(job, step, {}, {}))
    checkpoints.close()
    return job.data.classes


@functools.cache
def _tiny():
    """(Run, state) of that net."""
    from jaxcls.defaults import default_config
    from jaxcls.training import build

    config = default_config()
    config.model.name, config.batch_size, config.duration = "simple_cnn_16_32", 2, "1 step"
    config.data.name, config.data.normalize = "synthetic/12x16x3x3", "imagenet"
    config.data.augment, config.data.eval_transform, config.parallel.devices = (), (), 1
    job = build.build(config)
    return job, job.init_state()
