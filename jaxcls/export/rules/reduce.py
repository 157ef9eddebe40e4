"""Sums, means and extrema over axes.

The tensor keeps the axes, with size 1: what is computed from means needs no reshaping then.
"""

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from jaxcls.export.graph import Graph
from jaxcls.export.pending import Summed
from jaxcls.export.value import Value, number


def _places(x, axes):
    """Where axes of an array are in its tensor, and how the tensor lies without them."""
    places = sorted(x.axes.index(axis) for axis in axes if axis in x.axes)
    kept = [axis for axis in range(x.rank) if axis not in axes]
    renamed = {old: new for new, old in enumerate(kept)}
    return places, tuple(None if axis is None else renamed.get(axis) for axis in x.axes)


def total(graph: Graph, eqn: Any, operands: list[Value]) -> list[Value]:
    """A sum, which becomes a mean where it is divided by the number of elements (pending.Summed)."""
    x, axes = graph.full(operands[0], eqn.invars[0].aval.shape), eqn.params["axes"]
    dims = eqn.outvars[0].aval.shape
    places, left = _places(x, axes)
    if not places:
        return [dataclasses.replace(x, dims=dims, axes=left, pending=None)]
    name = graph.name("sum")
    pending = Summed(
        name,
        graph.place,
        None,
        inputs=[x.name, graph.constant(np.array(places, np.int64))],
        attributes={"keepdims": 1},
        count=math.prod(number(x.dims[axis]) for axis in axes),
        rank=len(x.axes),
        places=places,
    )
    graph.nodes.append(pending)
    return [Value(name, dims, left, x.dtype, x.positive, pending if x.dtype == np.float32 else None)]


def extreme(graph: Graph, eqn: Any, operands: list[Value], *, op: str) -> list[Value]:
    """The largest or smallest element."""
    x, axes = operands[0], eqn.params["axes"]
    places, left = _places(x, axes)
    dims = tuple(x.dims[axis] for axis in range(x.rank) if axis not in axes)
    if not places:
        return [dataclasses.replace(x, dims=dims, axes=left)]
    inputs = [x.name, graph.constant(np.array(places, np.int64))]
    attributes = {"keepdims": 1}
    return [graph.value(op, inputs, x, dims=dims, axes=left, positive=x.positive, attributes=attributes)]


def argument(graph: Graph, eqn: Any, operands: list[Value], *, op: str) -> list[Value]:
    """The place of the largest or smallest element, the first of equal ones."""
    from onnx import TensorProto

    x, (axis,) = graph.full(operands[0], eqn.invars[0].aval.shape), eqn.params["axes"]
    _, left = _places(x, (axis,))
    place = graph.node(op, [x.name], axis=x.axes.index(axis), keepdims=1)[0]
    (name,) = graph.node("Cast", [place], to=TensorProto.INT32)
    return [Value(name, eqn.outvars[0].aval.shape, left, np.dtype(np.int32), True)]


RULES: dict[str, Any] = {
    "reduce_sum": total,
    "reduce_max": functools.partial(extreme, op="ReduceMax"),
    "reduce_min": functools.partial(extreme, op="ReduceMin"),
    "argmax": functools.partial(argument, op="ArgMax"),
    "argmin": functools.partial(argument, op="ArgMin"),
}
