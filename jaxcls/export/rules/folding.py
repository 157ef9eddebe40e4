"""Constants that go into the operation before them (`pending`)."""

import dataclasses
from typing import Any

import numpy as np

from jaxcls.export.graph import Graph
from jaxcls.export.pending import Affine
from jaxcls.export.value import Value, is_one

ARITHMETIC = ("add", "sub", "mul", "div")


def with_constant(graph: Graph, eqn: Any, x: Value, constant: np.ndarray, first: bool) -> Value | None:
    """What comes out of an operation of a value and a constant (`first`: that stands left), where it can be folded, or
    is a bound; else None."""
    op = eqn.primitive.name
    if op in ("max", "min") and constant.size == 1:
        return _bounded(graph, x, op, float(constant.reshape(())))
    if op not in ARITHMETIC or (op == "div" and first):
        return None
    constant = constant.reshape([1] * (x.rank - constant.ndim) + list(constant.shape))
    spread = [axis for axis, size in enumerate(constant.shape) if size != 1]
    if len(spread) > 1 or any(axis not in x.axes or is_one(x.dims[axis]) for axis in spread):
        return None
    place = x.axes.index(spread[0]) if spread else None
    if not _fits(x.pending, place):
        name = graph.name("affine")
        pending = Affine(name, graph.place, place, input=x.name, rank=len(x.axes))
        graph.nodes.append(pending)
        x = dataclasses.replace(x, name=name, pending=pending)
    if place is not None:
        x.pending.axis = place
    x.pending.fold(op, constant.reshape(-1), first)
    return dataclasses.replace(x, positive=False)


def _fits(pending, place):
    """Whether a constant along an axis of the tensor goes into what is pending."""
    if pending is None or place is None:
        return pending is not None
    return pending.axis == place or (pending.axis is None and isinstance(pending, Affine))


def _bounded(graph, x, op, bound):
    if op == "max" and bound == 0:
        return graph.value("Relu", [x.name], x, positive=True)
    if bound == (-np.inf if op == "max" else np.inf):
        return x
    name = graph.constant(np.array(bound, x.dtype))
    inputs = [x.name, name] if op == "max" else [x.name, "", name]
    return graph.value("Clip", inputs, x, positive=bound >= 0 if op == "max" else x.positive and bound >= 0)
