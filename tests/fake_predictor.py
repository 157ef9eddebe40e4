"""A model without weights, and a process that predicts with it, for tests of what surrounds a model."""

import sys
import time
from pathlib import Path

import numpy as np

from jaxcls.predict import answering
from jaxcls.predict.base import BasePredictor
from jaxcls.predict.progress import Interruption
from jaxcls.predict.sharding import Shard


class Small(BasePredictor):
    """Takes files of one byte, its "picture", and answers by it; a file without one is damaged."""

    name, classes, step, averaged, output, decision = "small", ("a", "b"), 1, False, "softmax", None
    data, picture, notes = "bytes", (1, 1, 1), ()

    def __init__(self, seconds=0.0):
        self.seconds = seconds

    def prepare(self, image, name=""):
        if not image:
            from jaxcls.errors import UserError

            raise UserError(f"{name}: empty")
        return np.full((1, 1, 1), image[0], np.uint8)

    def logits(self, images):
        time.sleep(self.seconds)
        value = images.reshape(-1, 1).astype(np.float32) / 256
        return np.concatenate([value, 1 - value], axis=1)


def predict(pictures, out, *, predictor=None, resume=True, shard="", **options):
    """Predicts in this process; the status."""
    with Interruption() as interruption:
        given = answering.Options(
            form=Path(out).suffix[1:], out=Path(out), threads=2, resume={"weights": "w"} if resume else None,
            shard=Shard.parse(shard) if shard else None, **options,
        )  # fmt: skip
        return answering.run(predictor or Small(), pictures, given, interruption)


if __name__ == "__main__":
    sys.exit(predict([sys.argv[1]], sys.argv[2], predictor=Small(0.002), batch=2))
