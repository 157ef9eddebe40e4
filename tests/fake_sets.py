"""Networks whose answers are sets of labels, without a training of such: for tests of what comes after it."""

import dataclasses

import numpy as np
from fake_predictor import Small
from fake_served import _tiny

CLASSES = ("cat", "dog", "owl", "=sum")
SCALE, BIAS = (1.5, 0.7, 1.0, 1.0), (0.2, -0.4, 0.0, 0.5)
DECISION = {
    "step": 1, "split": "validation", "count": 50, "output": "sigmoid", "classes": list(CLASSES),
    "scale": list(SCALE), "bias": list(BIAS),
    "thresholds": [
        {"class": "cat", "index": 0, "kind": "f1", "wanted": None, "threshold": 0.3},
        {"class": "dog", "index": 1, "kind": "half", "wanted": None, "threshold": 0.5},
        {"class": "owl", "index": 2, "kind": "recall", "wanted": 0.9, "threshold": 0.8},
        {"class": "=sum", "index": 3, "kind": "half", "wanted": None, "threshold": 0.5},
    ],
    "costs": None, "outliers": None,
}  # fmt: skip


class SmallSets(Small):
    """Files of one byte, four classes: each of its bits 0 to 3 is a logit, +2 or -2, plus a little of the byte."""

    classes, output, decision = CLASSES, "sigmoid", None

    def logits(self, images):
        level = images.reshape(-1, 1)
        return (4.0 * ((level >> np.arange(4)) & 1) - 2 + level / 256 + np.arange(4) / 100).astype(np.float32)


def save_step(workdir, step=3, *, scale=3.0, change=None):
    """A finished checkpoint of a tiny net for pictures of 16 by 16 that answers with sets, of classes "0", "1", "2".

    `scale`: of its weights; `change`: of the Run's meta.
    """
    import jax

    from jaxcls.checkpoints.store import Checkpoints
    from jaxcls.training import loop

    job, state = _tiny()
    state = state.replace(step=state.step + step, params=jax.tree.map(lambda x: scale * x, state.params))
    meta = loop.meta_of(job, step, {}, {})
    meta = dataclasses.replace(meta, answer=dataclasses.replace(meta.answer, output="sigmoid"))
    checkpoints = Checkpoints(workdir)
    checkpoints.save(job.parallel.replicate(state), change(meta) if change else meta)
    checkpoints.close()
    return meta.classes
