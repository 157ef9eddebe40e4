"""The LiteRT (TensorFlow Lite) model of a network: JAX -> TensorFlow (`jax2tf`) -> TensorFlow's converter.

TensorFlow is imported when something is converted, and by nothing else of jaxcls.export.
"""

import dataclasses
import math
import os
import re
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.extend import core

from jaxcls.errors import UserError
from jaxcls.export import erf, probabilities
from jaxcls.models.layers import convolve
from jaxcls.runtime import litert
from jaxcls.tasks.networks import Network

BATCH = 1  # converted models have a fixed one
MOSTLY = 0.5  # share of the multiply-adds in convolutions from which a net counts as one of convolutions


@dataclasses.dataclass(frozen=True)
class Program:
    """A network as TensorFlow has it: `title` of the network, `concrete` and `owner` (of its constants)."""

    title: str
    concrete: Any
    owner: Any


def function(network: Network, output: str = "logits") -> Callable[[Array], Array]:
    """uint8 pictures [n, h, w, c], as `prepare` makes them -> float32 [n, d]: normalisation, views and averages are
    inside, and with output "probabilities" the stored calibration. For tracing."""
    finished = probabilities.function(network) if output == "probabilities" else lambda answer: answer
    return lambda images: finished(network.answer(network.variables, network.preprocessing.device(images)))


def program(network: Network, shape: tuple[int, ...], output: str = "logits") -> Program:
    """The TensorFlow program of `function` for BATCH pictures of this shape.

    Raises:
      UserError: where jax2tf refuses an operation.
    """
    images = jax.ShapeDtypeStruct((BATCH, *shape), np.uint8)
    answer = function(network, output)
    with convolve.plain():
        rewritten = erf.without(lambda images: answer(images), images)
    name = output if network.key == "logits" else network.key
    with litert.silence():
        tf = _tensorflow()
        from jax.experimental import jax2tf

        converted = jax2tf.convert(lambda images: rewritten(images)[0])
        signature = [tf.TensorSpec(images.shape, tf.uint8, name="image")]
        owner = tf.function(lambda image: {name: converted(image)}, autograph=False, input_signature=signature)
        try:
            return Program(network.title, owner.get_concrete_function(), owner)
        except Exception as error:  # of many types
            raise UserError(_refused(network.title, error)) from error


def convert(given: Program, precision: str = "float32", images: Iterable[np.ndarray] = ()) -> bytes:
    """The .tflite model.

    Args:
      given: the program.
      precision: "float32"; "float16": weights alone, which a CPU unpacks when it opens the file; "int8": weights per
        output channel and activations per tensor, all layers; pictures stay uint8, answers float32.
      images: of "int8", to calibrate on: prepared pictures, uint8 [1, h, w, c] each; ranges are least and largest.

    Raises:
      UserError: where the converter refuses, or there are no pictures to calibrate on.
    """
    with litert.silence():
        tf = _tensorflow()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([given.concrete], given.owner)
        if precision == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        elif precision == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([image] for image in images)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        try:
            return converter.convert()
        except UserError:
            raise
        except Exception as error:  # of many types
            raise UserError(_refused(given.title, error)) from error


def share_of_convolutions(network: Network, shape: tuple[int, ...]) -> float:
    """The share of a network's multiply-adds that is in convolutions."""
    answer = network.function()
    with convolve.plain():
        closed = jax.make_jaxpr(lambda images: answer(images))(jax.ShapeDtypeStruct((BATCH, *shape), np.uint8))
    counts = {"conv_general_dilated": 0, "dot_general": 0}
    _count(closed.jaxpr, counts)
    return counts["conv_general_dilated"] / max(1, sum(counts.values()))


def _count(jaxpr, counts):
    for equation in jaxpr.eqns:
        name, parameters = equation.primitive.name, equation.params
        if name in counts:
            left, right = (atom.aval.shape for atom in equation.invars)
            if name == "dot_general":
                summed = math.prod(left[axis] for axis in parameters["dimension_numbers"][0][0])
            else:
                summed = math.prod(right) // right[parameters["dimension_numbers"].rhs_spec[0]]
            counts[name] += summed * math.prod(equation.outvars[0].aval.shape)
        for inner in core.jaxprs_in_params(parameters):
            _count(inner, counts)


def _tensorflow():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow

    tensorflow.config.set_visible_devices([], "GPU")  # it would take all of its memory
    return tensorflow


def _refused(title, error):
    text = " ".join(str(error).split())
    found = re.search(r"error: (.{1,160})", text)
    reason = found[1] if found else f"{type(error).__name__} {text[:160]}"
    return f"{title}: TensorFlow's converter can't write it: {reason}"
