"""Calls that ONNX has as one operator, found by name: those of `layers.named`, and JAX's own activations.

A function of JAX is taken for what its name says only if its program is that of JAX's own function of this name.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxcls.export.graph import Graph
from jaxcls.export.rules.linear import layer_norm
from jaxcls.export.value import Value
from jaxcls.models.layers.named import parsed, program_of


def _clip(graph, x):
    low, high = (graph.constant(np.array(bound, np.float32)) for bound in (0, 6))
    return graph.value("Clip", [x.name, low, high], x, positive=True)


def _hard_sigmoid(graph, x):
    return graph.value("HardSigmoid", [x.name], x, positive=True, attributes={"alpha": 1 / 6, "beta": 0.5})


def _one(op: str, **attributes: Any) -> Callable[[Graph, Value], Value]:
    return lambda graph, x: graph.value(op, [x.name], x, attributes=attributes)


_ACTIVATIONS: dict[str, list[tuple[Callable[..., Any], Callable[[Graph, Value], Value]]]] = {
    "relu6": [(jax.nn.relu6, _clip)],
    "hard_sigmoid": [(jax.nn.hard_sigmoid, _hard_sigmoid)],
    "hard_silu": [(jax.nn.hard_swish, _one("HardSwish"))],
}


def piece(graph: Graph, eqn: Any, operands: list[Any]) -> Value | None:
    """What comes out of a call (`jit`) that is one operator; None for others."""
    title, x = eqn.params["name"], operands[0] if operands else None
    if not isinstance(x, Value):
        return None
    if (ours := parsed(title)) is not None:
        return _ours(graph, *ours, x, operands[1:])
    for function, write in _ACTIVATIONS.get(title, []):
        if len(operands) == 1 and str(eqn.params["jaxpr"]) == program_of(function, eqn.invars[0].aval):
            return write(graph, x)
    return None


def _ours(graph, name, settings, x, others):
    if name == "quantize":
        return _rounded(graph, x, *others)
    if name == "softmax":
        axis = x.axes.index(x.rank - 1)
        return graph.value("Softmax", [x.name], x, positive=True, attributes={"axis": axis})
    if name == "gelu":
        return _one("Gelu", approximate="none")(graph, x)
    if name == "layer_norm":
        return layer_norm(graph, x, others, **settings)
    axes = (0, x.rank - 1, *range(1, x.rank - 1))
    if name == "repeat_pixels":
        sizes = [int(settings["height"]), int(settings["width"])]
        attributes = {"mode": "nearest", "nearest_mode": "floor", "axes": [2, 3]}
        attributes["coordinate_transformation_mode"] = "asymmetric"
        inputs = [graph.lay(x, axes), "", "", graph.constant(np.array(sizes, np.int64))]
        dims = (x.dims[0], *sizes, x.dims[3])
        return graph.value("Resize", inputs, x, dims=dims, axes=axes, positive=x.positive, attributes=attributes)
    if name == "response_norm":
        size = int(settings["size"])
        attributes = {"size": size, "alpha": settings["alpha"] * size, "beta": settings["beta"], "bias": settings["k"]}
        return graph.value("LRN", [graph.lay(x, axes)], x, axes=axes, attributes=attributes)
    return None


def _rounded(graph, x, scale, zero):
    """To 8 bits and back (jaxcls.quantize.fake.rounded)."""
    if not scale:
        return x
    inputs = [graph.constant(np.asarray(scale, np.float32)), graph.constant(np.asarray(zero, np.uint8))]
    q = graph.value("QuantizeLinear", [x.name, *inputs], x, dtype=np.dtype(np.uint8))
    return graph.value("DequantizeLinear", [q.name, *inputs], x, positive=x.positive)
