"""Calibrated probabilities of logits, for tracing: what every file with output "probabilities" ends in."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from jaxcls.models.layers.softmax import softmax
from jaxcls.tasks import base
from jaxcls.tasks.networks import Network


def function(network: Network) -> Callable[[Array], Array]:
    """Logits [n, classes] -> float32: the softmax at the stored temperature, or, where answers are sets, the sigmoid of
    each class at its stored scale and bias."""
    decision = network.calibration
    if network.output == base.SIGMOID:
        if not decision:
            return jax.nn.sigmoid
        scale, bias = jnp.asarray(decision["scale"], jnp.float32), jnp.asarray(decision["bias"], jnp.float32)
        return lambda logits: jax.nn.sigmoid(logits * scale + bias)
    temperature = float(decision["temperature"]) if decision else 1.0
    return lambda logits: softmax(logits / jnp.float32(temperature))
