"""A run or an ONNX file in Ray Serve: `MODEL=digits.onnx serve run deploy.ray_serve:app`, then POST a picture's bytes.

No @serve.batch: on CPUs a file gains nothing by it, and one request's failure is its own.
"""

import asyncio
import os

from ray import serve

import jaxcls
from jaxcls.errors import UserError


@serve.deployment(num_replicas="auto", max_ongoing_requests=4, max_queued_requests=64)
class Classifier:
    """A replica, with a copy of the model. What is no picture answers {"error": ...}; a full queue 503."""

    def __init__(self, path):
        self.predictor = jaxcls.load(path)

    def answer(self, encoded):
        """As `jaxcls predict --format jsonl` has it."""
        try:
            return self.predictor(self.predictor.prepare(encoded, "the body")[None])[0]
        except UserError as error:
            return {"error": str(error)}

    async def __call__(self, request):
        return await asyncio.to_thread(self.answer, await request.body())


app = Classifier.bind(os.environ["MODEL"])
