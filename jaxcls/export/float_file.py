"""The ONNX model of a network in float32, with all that its user needs in the metadata."""

import json
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from jaxcls.export.writer import to_onnx
from jaxcls.models.layers.softmax import softmax
from jaxcls.runtime import metadata
from jaxcls.tasks import base
from jaxcls.tasks.networks import Network
from jaxcls.types import PyTree

if TYPE_CHECKING:
    import onnx


def float_model(network: Network, *, output: str = "logits") -> "onnx.ModelProto":
    """Prepared pictures (uint8 `[batch, h, w, c]`) to answers: normalisation, views and averages are inside.

    Args:
      network: computing in float32 (`networks.from_run(..., dtype="float32")`).
      output: "logits", or "probabilities" for those of the stored calibration. A network whose answer is features gives
        "features" either way.

    Raises:
      UserError: for an operation that can't be written, or pictures that are none.
    """
    output = output if network.output != base.FEATURES else "features"
    described = metadata.of(network, output=output, precision="float32")
    temperature = float(network.calibration["temperature"]) if network.calibration else 1.0

    def function(variables: PyTree, images: jax.Array) -> jax.Array:
        answer = network.answer(variables, network.preprocessing.device(images))
        return softmax(answer / jnp.float32(temperature)) if output == "probabilities" else answer

    shape = tuple(json.loads(described["picture"]))
    return to_onnx(function, network.variables, shape, output=output, metadata=described)
