"""Operations that move elements."""

import dataclasses
from typing import Any

import numpy as np

from jaxcls.export.graph import Graph, Padded
from jaxcls.export.value import Value, is_one, number, transposed


def transpose(graph: Graph, eqn: Any, operands: list[Value]) -> list[Value]:
    """Nothing is written."""
    return [transposed(operands[0], eqn.params["permutation"])]


def reshape(graph: Graph, eqn: Any, operands: list[Value]) -> list[Value]:
    """See `Graph.reshape`. An axis that is only broadcast stays so where it is not merged."""
    x, dims = operands[0], eqn.outvars[0].aval.shape
    return [graph.reshape(graph.full(x, eqn.invars[0].aval.shape), dims)]


def squeeze(graph: Graph, eqn: Any, operands: list[Value]) -> list[Value]:
    """Nothing is written."""
    x = operands[0]
    kept = [axis for axis in range(x.rank) if axis not in eqn.params["dimensions"]]
    place = {old: new for new, old in enumerate(kept)}
    axes = tuple(None if axis is None else place.get(axis) for axis in x.axes)
    return [dataclasses.replace(x, dims=tuple(x.dims[axis] for axis in kept), axes=axes)]


def broadcast(graph: Graph, eqn: Any, operands: list[Value]) -> list[Value]:
    """Nothing is written: axes that are new have size 1."""
    x, place = operands[0], eqn.params["broadcast_dimensions"]
    dims: list[Any] = [1] * len(eqn.params["shape"])
    for old, new in enumerate(place):
        dims[new] = x.dims[old]
    axes = tuple(None if axis is None else place[axis] for axis in x.axes)
    return [dataclasses.replace(x, dims=tuple(dims), axes=axes)]


def concatenate(graph: Graph, eqn: Any, operands: list[Any]) -> list[Value]:
    """In the order of the first value that has the axis."""
    axis = eqn.params["dimension"]
    dims = eqn.outvars[0].aval.shape
    return [_joined(graph, operands, [var.aval.shape for var in eqn.invars], dims, axis)]


def stack(graph: Graph, eqn: Any, operands: list[Any]) -> list[Value]:
    """A new axis, then as concatenate."""
    axis = eqn.params["axis"]
    dims = eqn.outvars[0].aval.shape
    axis = axis % len(dims)
    place = [i for i in range(len(dims)) if i != axis]
    parts: list[Any] = []
    for x in operands:
        if isinstance(x, Value):
            axes = tuple(None if a is None else place[a] for a in x.axes)
            x = dataclasses.replace(x, dims=(*x.dims[:axis], 1, *x.dims[axis:]), axes=axes)
        else:
            x = np.expand_dims(x, axis)
        parts.append(x)
    shapes = [(*var.aval.shape[:axis], 1, *var.aval.shape[axis:]) for var in eqn.invars]
    return [_joined(graph, parts, shapes, dims, axis)]


def _joined(graph, operands, shapes, dims, axis):
    """Concatenation: all have every axis, in one order."""
    values = [
        graph.full(x, shape) if isinstance(x, Value) else graph.of_constant(x, shape)
        for x, shape in zip(operands, shapes, strict=True)
    ]
    axes = tuple(a for a in max(values, key=lambda x: len(x.large())).axes if a is not None)
    axes += tuple(a for a in range(len(dims)) if a not in axes)
    (name,) = graph.node("Concat", [graph.lay(x, axes) for x in values], axis=axes.index(axis))
    positive = all(x.positive for x in values)
    return Value(name, tuple(dims), axes, values[0].dtype, positive)


def split(graph: Graph, eqn: Any, operands: list[Value]) -> list[Value]:
    """Parts along an axis."""
    x, axis = graph.full(operands[0], eqn.invars[0].aval.shape), eqn.params["axis"]
    sizes = np.array([int(n) for n in eqn.params["sizes"]], np.int64)
    names = graph.node("Split", [x.name, graph.constant(sizes)], len(sizes), axis=x.axes.index(axis))
    return [
        dataclasses.replace(x, name=name, dims=var.aval.shape, pending=None)
        for name, var in zip(names, eqn.outvars, strict=True)
    ]


def slices(graph: Graph, eqn: Any, operands: list[Value]) -> list[Value]:
    """From start to limit in steps."""
    x, p = operands[0], eqn.params
    steps = p["strides"] or (1,) * x.rank
    dims = eqn.outvars[0].aval.shape
    cut = [
        (axis, int(start), number(limit), int(step))
        for axis, (start, limit, step) in enumerate(zip(p["start_indices"], p["limit_indices"], steps, strict=True))
        if dims[axis] is not x.dims[axis] and number(dims[axis]) != number(x.dims[axis])
    ]
    return [sliced(graph, graph.full(x, eqn.invars[0].aval.shape), cut, dims)]


def sliced(graph: Graph, x: Value, cut: list[tuple[int, int, int, int]], dims: Any) -> Value:
    """Slices (axis, start, limit, step) of a value; `dims` is what they leave."""
    cut = [c for c in cut if c[0] in x.axes]
    if not cut:
        return dataclasses.replace(x, dims=tuple(dims))
    axes, starts, limits, steps = zip(*cut, strict=True)
    places = [x.axes.index(axis) for axis in axes]
    names = [graph.constant(np.array(v, np.int64)) for v in (starts, limits, places, steps)]
    return graph.value("Slice", [x.name, *names], x, dims=tuple(dims), positive=x.positive)


def reverse(graph: Graph, eqn: Any, operands: list[Value]) -> list[Value]:
    """Axes turned round."""
    x = graph.full(operands[0], eqn.invars[0].aval.shape)
    cut = [(axis, -1, -(2**31), -1) for axis in eqn.params["dimensions"] if not is_one(x.dims[axis])]
    return [sliced(graph, x, cut, x.dims)]


def pad(graph: Graph, eqn: Any, operands: list[Any]) -> list[Value]:
    """With a constant; negative padding cuts."""
    x, fill = operands
    config = eqn.params["padding_config"]
    if any(interior for _, _, interior in config) or isinstance(fill, Value):
        raise NotImplementedError("padding between elements, or with what is computed")
    x = graph.full(x, eqn.invars[0].aval.shape)
    cut = [
        (axis, max(0, -low), number(x.dims[axis]) - max(0, -high), 1)
        for axis, (low, high, _) in enumerate(config)
        if low < 0 or high < 0
    ]
    if cut:
        limits = {axis: limit - start for axis, start, limit, _ in cut}
        x = sliced(graph, x, cut, [limits.get(axis, size) for axis, size in enumerate(x.dims)])
    wide = [(max(0, low), max(0, high)) for low, high, _ in config]
    if not any(map(any, wide)):
        return [x]
    axes = tuple(axis for axis in x.axes if axis is not None)
    axes += tuple(axis for axis in range(x.rank) if axis not in axes)
    name = graph.lay(x, axes)
    pads = [wide[axis][0] for axis in axes] + [wide[axis][1] for axis in axes]
    value = np.asarray(fill, x.dtype).reshape(())
    inputs = [name, graph.constant(np.array(pads, np.int64)), graph.constant(value)]
    positive = x.positive and bool(value >= 0)
    out = graph.value("Pad", inputs, x, dims=eqn.outvars[0].aval.shape, axes=axes, positive=positive)
    graph.padded[out.name] = Padded(name, [wide[axis] for axis in axes], float(value), x.positive)
    return [out]


def gather(graph: Graph, eqn: Any, operands: list[Any]) -> list[Value]:
    """A fixed place, or fixed places in a row, along one axis: `x[:, 0]`."""
    x, indices = operands
    numbers = eqn.params["dimension_numbers"]
    sizes = eqn.params["slice_sizes"]
    shape = eqn.invars[0].aval.shape
    (axis,) = numbers.start_index_map if len(numbers.start_index_map) == 1 else (None,)
    whole = all(number(n) == number(m) for i, (n, m) in enumerate(zip(sizes, shape, strict=True)) if i != axis)
    batching = tuple(getattr(numbers, "operand_batching_dims", ()))
    if isinstance(indices, Value) or axis is None or not whole or batching or np.size(indices) != 1:
        raise NotImplementedError("indexing but by one fixed place of one axis")
    start, size = int(np.reshape(indices, ())), int(sizes[axis])
    x = graph.full(x, shape)
    if tuple(numbers.collapsed_slice_dims) == (axis,):
        (name,) = graph.node("Gather", [x.name, graph.constant(np.array(start))], axis=x.axes.index(axis))
        axes = tuple(None if a is None else a - (a > axis) for a in x.axes if a != axis)
        return [Value(name, tuple(eqn.outvars[0].aval.shape), axes, x.dtype, x.positive)]
    return [sliced(graph, x, [(axis, start, start + size, 1)], eqn.outvars[0].aval.shape)]


RULES = {
    "transpose": transpose,
    "reshape": reshape,
    "squeeze": squeeze,
    "broadcast_in_dim": broadcast,
    "concatenate": concatenate,
    "stack": stack,
    "split": split,
    "slice": slices,
    "rev": reverse,
    "pad": pad,
    "gather": gather,
}
