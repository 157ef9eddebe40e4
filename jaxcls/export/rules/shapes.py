"""Operations that move elements."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcls.export.constant import full
from jaxcls.export.graph import Graph, Padded
from jaxcls.export.rules.elementwise import lying
from jaxcls.export.value import Axes, Value, is_one, number, transposed


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
    dims = eqn.outvars[0].aval.shape
    return [stacked(graph, operands, dims, eqn.params["axis"] % len(dims))]


def stacked(graph: Graph, operands: Sequence[Any], dims: Any, axis: int = 0) -> Any:
    """Arrays of one shape as one of shape `dims`, along a new axis."""
    if not any(isinstance(x, Value) for x in operands):
        return np.stack(operands, axis)
    place = [i for i in range(len(dims)) if i != axis]
    parts: list[Any] = []
    for x in operands:
        if isinstance(x, Value):
            axes = tuple(None if a is None else place[a] for a in x.axes)
            x = dataclasses.replace(x, dims=(*x.dims[:axis], 1, *x.dims[axis:]), axes=axes)
        else:
            x = np.expand_dims(x, axis)
        parts.append(x)
    shape = (*dims[:axis], 1, *dims[axis + 1 :])
    return _joined(graph, parts, [shape] * len(parts), dims, axis)


def item(graph: Graph, x: Any, shape: Any, place: int) -> Any:
    """One place of the first axis, which goes, of an array of this shape."""
    if not isinstance(x, Value):
        return full(x, shape)[place]
    x = _taken(graph, graph.full(x, shape), 0, np.array([place]))
    axes = tuple(axis - 1 if axis else None for axis in x.axes)
    return dataclasses.replace(x, dims=x.dims[1:], axes=axes)


def whole(axes: Axes, rank: int) -> tuple[int, ...]:
    """Axes of a tensor with those that are missing: in the places of none, then behind the axis that each follows."""
    missing = [axis for axis in range(rank) if axis not in axes]
    filled = [missing.pop(0) if axis is None and missing else axis for axis in axes]
    here = [axis for axis in filled if axis is not None]
    for axis in missing:
        here.insert(here.index(axis - 1) + 1 if axis else 0, axis)
    return tuple(here)


def _joined(graph, operands, shapes, dims, axis):
    """Concatenation: all have every axis, in one order."""
    values = [
        graph.full(x, shape) if isinstance(x, Value) else graph.of_constant(x, shape)
        for x, shape in zip(operands, shapes, strict=True)
    ]
    axes = whole(lying(values), len(dims))
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
    axes = whole(x.axes, x.rank)
    name = graph.lay(x, axes)
    pads = [wide[axis][0] for axis in axes] + [wide[axis][1] for axis in axes]
    value = np.asarray(fill, x.dtype).reshape(())
    inputs = [name, graph.constant(np.array(pads, np.int64)), graph.constant(value)]
    positive = x.positive and bool(value >= 0)
    out = graph.value("Pad", inputs, x, dims=eqn.outvars[0].aval.shape, axes=axes, positive=positive)
    graph.padded[out.name] = Padded(name, [wide[axis] for axis in axes], float(value), x.positive)
    return [out]


def gather(graph: Graph, eqn: Any, operands: list[Any]) -> list[Value]:
    """Fixed places, each axis by itself: what `x[:, 0]` and `x[:, ::2, ::2]` are where the batch is symbolic."""
    x, indices = operands
    p, shape = eqn.params, eqn.invars[0].aval.shape
    numbers = p["dimension_numbers"]
    if isinstance(indices, Value) or numbers.operand_batching_dims:
        raise NotImplementedError("indexing by what is computed")
    x, indices = graph.full(x, shape), np.broadcast_to(indices, eqn.invars[1].aval.shape)
    out = eqn.outvars[0].aval.shape
    behind: dict[int, int] = {}  # axis of the picture -> axis of the result, where it is not removed
    free = [axis for axis in range(len(out)) if axis not in numbers.offset_dims]
    kept = [axis for axis in range(x.rank) if axis not in numbers.collapsed_slice_dims]
    behind.update(zip(kept, numbers.offset_dims, strict=True))
    for j, axis in enumerate(numbers.start_index_map):
        places = indices[..., j]
        if axis in kept:
            if np.ptp(places):
                raise NotImplementedError("indexing of parts that lie apart")
            start, size = int(places.flat[0]), number(p["slice_sizes"][axis])
            if size != number(shape[axis]):
                dims = [*x.dims[:axis], p["slice_sizes"][axis], *x.dims[axis + 1 :]]
                x = sliced(graph, x, [(axis, start, start + size, 1)], dims)
            continue
        varied = [d for d in range(places.ndim) if np.ptp(places, axis=d).any()]
        if len(varied) > 1 or any(free[d] in behind.values() for d in varied):
            raise NotImplementedError("indexing of several axes by one")
        line = places.reshape(-1)[:1]
        if varied:
            behind[axis] = free[varied[0]]
            line = np.moveaxis(places, varied[0], 0).reshape(places.shape[varied[0]], -1)[:, 0]
        x = _taken(graph, x, axis, line)
    place = [behind.get(axis) for axis in range(x.rank)]
    axes = tuple(None if axis is None else place[axis] for axis in x.axes)
    return [dataclasses.replace(x, dims=tuple(out), axes=axes)]


def _taken(graph, x, axis, places):
    """The value with fixed places of an axis, which stays."""
    dims = [*x.dims[:axis], len(places), *x.dims[axis + 1 :]]
    steps = set(np.diff(places).tolist())
    if len(steps) <= 1 and (not steps or min(steps) > 0):
        step = steps.pop() if steps else 1
        return sliced(graph, x, [(axis, int(places[0]), int(places[-1]) + 1, step)], dims)
    inputs = [x.name, graph.constant(places.astype(np.int64))]
    attributes = {"axis": x.axes.index(axis)}
    return graph.value("Gather", inputs, x, dims=tuple(dims), positive=x.positive, attributes=attributes)


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
