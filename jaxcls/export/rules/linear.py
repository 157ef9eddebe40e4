"""Convolutions and products."""

import dataclasses
import math
from typing import Any

import numpy as np

from jaxcls.export.graph import Graph
from jaxcls.export.pending import Linear
from jaxcls.export.value import Value, is_one, transposed


def convolution(graph: Graph, eqn: Any, operands: list[Any]) -> list[Value]:
    """Conv: channels first, with a kernel that is no function of the picture."""
    x, kernel = operands
    p, numbers = eqn.params, eqn.params["dimension_numbers"]
    if isinstance(kernel, Value) or not isinstance(x, Value):
        raise NotImplementedError("a convolution whose kernel depends on the picture")
    if p["batch_group_count"] != 1 or any(d != 1 for d in p["lhs_dilation"]):
        raise NotImplementedError("a transposed convolution")
    x = graph.full(x, eqn.invars[0].aval.shape)
    axes = tuple(numbers.out_spec)
    name = graph.name("conv")
    pending = Linear(
        name,
        graph.place,
        1,
        op="Conv",
        inputs=[graph.lay(x, tuple(numbers.lhs_spec))],
        kernel=kernel.transpose(numbers.rhs_spec),
        attributes={
            "kernel_shape": [kernel.shape[axis] for axis in numbers.rhs_spec[2:]],
            "strides": list(p["window_strides"]),
            "pads": [low for low, _ in p["padding"]] + [high for _, high in p["padding"]],
            "dilations": list(p["rhs_dilation"]),
            "group": p["feature_group_count"],
        },
    )
    graph.nodes.append(pending)
    return [Value(name, eqn.outvars[0].aval.shape, axes, x.dtype, pending=pending)]


def product(graph: Graph, eqn: Any, operands: list[Any]) -> list[Value]:
    """`dot_general`: MatMul, Gemm for two axes. The result has batch, free axes of the left, free ones of the right."""
    ((left, right), (left_batch, right_batch)) = eqn.params["dimension_numbers"]
    shapes = [var.aval.shape for var in eqn.invars]
    dims = eqn.outvars[0].aval.shape
    free = [
        [axis for axis in range(len(shape)) if axis not in (*over, *batch)]
        for shape, over, batch in zip(shapes, (left, right), (left_batch, right_batch), strict=True)
    ]
    sides = [(left_batch, free[0], left), (right_batch, free[1], right)]
    if not isinstance(operands[0], Value):  # the picture goes left, and what comes out is turned round
        out = _product(graph, operands[1], operands[0], shapes[::-1], sides[::-1])
        n, m = len(left_batch) + len(free[1]), len(left_batch)
        order = [*range(m), *range(n, len(dims)), *range(m, n)]
        return [transposed(out, order)]
    return [_product(graph, operands[0], operands[1], shapes, sides)]


def _product(graph, x, y, shapes, sides):
    """Of a value with a value or a constant; `sides`: (batch, free, summed) axes of each."""
    (batch, rows, over), (_, columns, _) = sides
    dims = [shapes[0][axis] for axis in (*batch, *rows)] + [shapes[1][axis] for axis in columns]
    x = _ordered(graph, graph.full(x, shapes[0]), [*batch, *rows], over, last=True)
    if isinstance(y, Value) or batch:
        return _of_two(graph, x, y, shapes[1], sides[1], dims)
    kernel = np.broadcast_to(y, shapes[1]).transpose([*sides[1][2], *columns])
    kernel = kernel.reshape(math.prod(kernel.shape[: len(over)]), -1)
    name = graph.name("product")
    axes = _kept(x)
    # A picture's mean has its axes of size 1 still: two axes alone make a Gemm.
    inputs = [graph.lay(x, axes)]
    op = "Gemm" if len(axes) == 2 else "MatMul"
    pending = Linear(name, graph.place, len(axes) - 1, op=op, inputs=inputs, kernel=kernel, out=1)
    graph.nodes.append(pending)
    flat = (*x.dims[:-1], kernel.shape[1])
    out = Value(name, flat, axes, x.dtype, pending=pending if len(columns) == 1 else None)
    return out if len(columns) == 1 else graph.reshape(out, dims)


def _kept(x):
    """The axes of a tensor whose last axis is summed over: the others as they lie, those of size 1 left out."""
    last = x.rank - 1
    lying = [axis for axis in x.axes if axis is not None and axis != last and not is_one(x.dims[axis])]
    return (*(lying or range(min(last, 1))), last)


def _of_two(graph, x, y, shape, side, dims):
    """MatMul of two tensors with the same batch axes."""
    batch, columns, over = side
    y = graph.full(y, shape) if isinstance(y, Value) else graph.of_constant(np.asarray(y), shape)
    y = _ordered(graph, y, [*batch], over, last=False, columns=columns)
    n = len(batch)
    x = graph.reshape(x, (*x.dims[:n], math.prod(x.dims[n:-1]), x.dims[-1])) if x.rank != n + 2 else x
    names = [graph.lay(value, tuple(range(value.rank))) for value in (x, y)]
    (name,) = graph.node("MatMul", names)
    out = Value(name, (*x.dims[:-1], y.dims[-1]), tuple(range(x.rank)), x.dtype)
    return out if len(dims) == out.rank else graph.reshape(out, dims)


def _ordered(graph, x, first, over, *, last, columns=()):
    """A value with its summed axes as one, at the end or, before one axis of the columns, in front of it."""
    x = transposed(x, [*first, *over, *columns])
    n = len(first)
    summed = math.prod(x.dims[n : n + len(over)])
    behind = () if last else (math.prod(x.dims[n + len(over) :]),)
    dims = (*x.dims[:n], summed, *behind)
    return x if len(dims) == x.rank else graph.reshape(x, dims)


def layer_norm(graph: Graph, x: Value, operands: list[Any], epsilon: float) -> Value:
    """LayerNormalization over the last axis of the array, with its scale and bias where there are any."""
    last = x.rank - 1
    axes = (*(axis for axis in x.axes if axis not in (None, last)), last)
    missing = [axis for axis in range(x.rank) if axis not in axes]
    axes = (*missing, *axes)
    x = dataclasses.replace(x, name=graph.lay(x, axes), axes=axes)
    scale, bias = operands if len(operands) == 2 else (*operands, None)
    names = [graph.constant(np.asarray(array, np.float32)) for array in (scale, bias) if array is not None]
    return graph.value("LayerNormalization", [x.name, *names], x, attributes={"axis": -1, "epsilon": epsilon})


RULES = {"conv_general_dilated": convolution, "dot_general": product}
