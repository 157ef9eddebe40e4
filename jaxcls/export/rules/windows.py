"""Pooling: sums and maxima over windows, of `[b, h, w, c]`."""

import functools
import math
from typing import Any

import numpy as np

from jaxcls.export.graph import Graph
from jaxcls.export.pending import Summed
from jaxcls.export.value import Value


def pool(graph: Graph, eqn: Any, operands: list[Value], *, op: str) -> list[Value]:
    """MaxPool, or the sum over windows, which becomes AveragePool once it is divided by their size.

    Padding that was an operation of its own goes into the pool: zeros into a mean that counts them, and into a maximum
    where nothing is below zero.
    """
    x, p = graph.full(operands[0], eqn.invars[0].aval.shape), eqn.params
    window, strides, padding = (tuple(p[key]) for key in ("window_dimensions", "window_strides", "padding"))
    spatial = [axis for axis in range(x.rank) if window[axis] != 1 or strides[axis] != 1 or padding[axis] != (0, 0)]
    if any(d != 1 for key in ("base_dilation", "window_dilation") for d in p[key]):
        raise NotImplementedError("pooling with gaps")
    if not all(0 < axis < x.rank - 1 for axis in spatial):
        raise NotImplementedError("pooling over the batch or the channels")
    axes = (0, x.rank - 1, *range(1, x.rank - 1))
    spatial = list(axes[2:])
    name = graph.lay(x, axes)
    pads = [padding[axis] for axis in spatial]
    before = graph.padded.get(name)
    if before and before.fill == 0 and (op == "sum" or before.positive) and not any(map(any, pads + before.widths[:2])):
        name, pads = before.name, before.widths[2:]
    attributes: dict[str, Any] = {
        "kernel_shape": [window[axis] for axis in spatial],
        "strides": [strides[axis] for axis in spatial],
        "pads": [low for low, _ in pads] + [high for _, high in pads],
    }
    dims = eqn.outvars[0].aval.shape
    if op == "max":
        (out,) = graph.node("MaxPool", [name], **attributes)
        return [Value(out, dims, axes, x.dtype, x.positive)]
    out = graph.name("pool")
    attributes["count_include_pad"] = 1
    count = math.prod(attributes["kernel_shape"])
    pending = Summed(out, graph.place, None, op="AveragePool", inputs=[name], attributes=attributes, count=count)
    graph.nodes.append(pending)
    return [Value(out, dims, axes, x.dtype, x.positive, pending if x.dtype == np.float32 else None)]


RULES = {
    "reduce_window_max": functools.partial(pool, op="max"),
    "reduce_window_sum": functools.partial(pool, op="sum"),
}
