"""Rules of operations that only move entries: NumPy's on the shadows."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from jaxcls.prune.program import Step
from jaxcls.prune.shadow import Places, Value, fix, joined, varying

BESIDE = "it stands beside what is no channel"
WHOLE = "it meets an axis that stays whole"


def reshape(places: Places, step: Step, values: Sequence[Value]) -> list[Value]:
    """As NumPy's."""
    return [reshaped(places, values[0], step.settings["new_sizes"])]


def reshaped(places: Places, value: Value, shape: Sequence[int]) -> Value:
    """The value in another shape. Axes that are split or merged are looked at together, others stay as they are."""
    shadows = list(value.shadows)
    free: set[int] = set()
    blocks = list(_blocks(value.shape, shape))
    for old, new in blocks:
        if {axis for axis in old if value.shape[axis] > 1} <= value.free:
            free |= set(new)
    turned = []
    for shadow in shadows:
        full, target = list(shadow.shape), [1] * len(shape)
        for old, new in blocks:
            if varying(shadow) & set(old):
                for axis in old:
                    full[axis] = value.shape[axis]
                for axis in new:
                    target[axis] = shape[axis]
        turned.append(np.broadcast_to(shadow, full).reshape(target))
    return Value(tuple(shape), places.settle(turned), frozenset(free), value.made)


def _blocks(old, new):
    """(axes before, axes after) of equal products, as small as they can be; those of size 1 belong to some."""
    i = j = 0
    while i < len(old) or j < len(new):
        first_i, first_j = i, j
        i, j = min(i + 1, len(old)), min(j + 1, len(new))
        while (a := math.prod(old[first_i:i])) != (b := math.prod(new[first_j:j])):
            if a < b:
                i += 1
            else:
                j += 1
        yield range(first_i, i), range(first_j, j)


def transpose(places: Places, step: Step, values: Sequence[Value]) -> list[Value]:
    """As NumPy's."""
    (value,), order = values, step.settings["permutation"]
    shadows = [shadow.transpose(order) for shadow in value.shadows]
    free = frozenset(new for new, old in enumerate(order) if old in value.free)
    return [Value(tuple(value.shape[axis] for axis in order), shadows, free, value.made)]


def broadcast(places: Places, step: Step, values: Sequence[Value]) -> list[Value]:
    """New and widened axes are as long as one likes."""
    value, shape, at = values[0], tuple(step.settings["shape"]), step.settings["broadcast_dimensions"]
    kept = {new: old for old, new in enumerate(at) if value.shape[old] == shape[new]}
    free = {axis for axis in range(len(shape)) if axis not in kept or kept[axis] in value.free}

    def spread(shadow):
        return shadow.reshape([shadow.shape[kept[axis]] if axis in kept else 1 for axis in range(len(shape))])

    shadows = [spread(shadow) for shadow in value.shadows]
    return [Value(shape, shadows, frozenset(free), value.made, value.zero)]


def squeeze(places: Places, step: Step, values: Sequence[Value]) -> list[Value]:
    """As NumPy's."""
    (value,) = values
    shape = [size for axis, size in enumerate(value.shape) if axis not in step.settings["dimensions"]]
    return [reshaped(places, value, shape)]


def rev(places: Places, step: Step, values: Sequence[Value]) -> list[Value]:
    """As `numpy.flip`."""
    (value,) = values
    return [dataclasses.replace(value, shadows=[np.flip(s, step.settings["dimensions"]) for s in value.shadows])]


def _part(places, value, axis, cut):
    """The value of a part of an axis."""
    shadows, size = [], len(np.arange(value.shape[axis])[cut])
    for shadow in value.shadows:
        if axis in varying(shadow):
            shadow = shadow[(slice(None),) * axis + (cut,)]
            places.parts.append(shadow)
        shadows.append(shadow)
    shape = (*value.shape[:axis], size, *value.shape[axis + 1 :])
    return Value(shape, places.settle(shadows), value.free, value.made)


def cut(places: Places, step: Step, values: Sequence[Value]) -> list[Value]:
    """As NumPy's slices."""
    (value,) = values
    settings = step.settings
    strides = settings["strides"] or (1,) * len(value.shape)
    for axis, bounds in enumerate(zip(settings["start_indices"], settings["limit_indices"], strides, strict=True)):
        if bounds != (0, value.shape[axis], 1):
            value = _part(places, value, axis, slice(*bounds))
    return [value]


def split(places: Places, step: Step, values: Sequence[Value]) -> list[Value]:
    """As `numpy.split`."""
    ends = np.cumsum(step.settings["sizes"])
    axis = step.settings["axis"]
    return [
        _part(places, values[0], axis, slice(end - size, end))
        for end, size in zip(ends, step.settings["sizes"], strict=True)
    ]


def concatenate(places: Places, step: Step, values: Sequence[Value]) -> list[Value]:
    """Along its axis places follow each other; along the others they meet, as in a sum."""
    axis = step.settings["dimension"]
    shape = list(values[0].shape)
    shape[axis] = sum(value.shape[axis] for value in values)
    fixed = set().union(*(value.fixed for value in values)) - {axis}
    values = [fix(places, value, fixed - value.fixed - {axis}, WHOLE) for value in values]
    ones = [1] * len(shape)
    own = [[s for s in value.shadows if axis in varying(s)] for value in values]
    shadows = [s for value in values for s in value.shadows if axis not in varying(s)]
    if any(own):
        rows = []
        for value, found in zip(values, own, strict=True):
            ones[axis] = value.shape[axis]
            rows.append(found[0] if found else places.new(value.shape[axis], BESIDE).reshape(ones))
        wide = np.max([row.shape for row in rows], axis=0).tolist()
        rows = [np.broadcast_to(row, [*wide[:axis], row.shape[axis], *wide[axis + 1 :]]) for row in rows]
        shadows.append(np.concatenate(rows, axis))
    free = frozenset.intersection(*(value.free for value in values)) - {axis}
    return [Value(tuple(shape), places.settle(shadows), free, any(value.made for value in values))]


def stack(places: Places, step: Step, values: Sequence[Value]) -> list[Value]:
    """As `numpy.stack`: what is stacked meets, as in a sum; the new axis stays."""
    axis = step.settings["axis"]
    value = joined(places, values, values[0].shape, WHOLE)
    shadows = [np.expand_dims(shadow, axis) for shadow in value.shadows]
    free = frozenset(old + (old >= axis) for old in value.free)
    return [Value((*value.shape[:axis], len(values), *value.shape[axis:]), shadows, free, value.made)]


def pad(places: Places, step: Step, values: Sequence[Value]) -> list[Value]:
    """Zeros beside channels are units of their own, for what they meet later (the shortcut A of CIFAR's ResNets)."""
    value, filler = values
    shape = list(value.shape)
    for axis, (low, high, inside) in enumerate(step.settings["padding_config"]):
        if not low and not high and not inside:
            continue
        if min(low, high) < 0 or inside or not filler.zero:
            value = fix(places, value, [axis], BESIDE)
        shape[axis] += low + high + inside * max(shape[axis] - 1, 0)
        shadows = []
        for shadow in value.shadows:
            if axis in varying(shadow):
                size = [1] * len(shape)
                size[axis] = -1
                sides = [places.new(n).reshape(size) for n in (int(low), int(high))]
                whole = [np.broadcast_to(s, [*shadow.shape[:axis], s.size, *shadow.shape[axis + 1 :]]) for s in sides]
                shadow = np.concatenate([whole[0], shadow, whole[1]], axis)
            shadows.append(shadow)
        value = Value(tuple(shape), places.settle(shadows), value.free - {axis}, value.made)
    return [value]


def gather(places: Places, step: Step, values: Sequence[Value]) -> list[Value]:
    """Rows of a table (of relative positions): its columns keep their places, its rows stay."""
    numbers, sizes = step.settings["dimension_numbers"], step.settings["slice_sizes"]
    table = values[0]
    chosen = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    stay = chosen | {axis for axis, size in enumerate(table.shape) if sizes[axis] != size}
    table = fix(places, table, stay, "rows of a table")
    index = fix(places, values[1], range(len(values[1].shape)), "positions in a table")
    shape = step.shapes[0]
    at = dict(zip(numbers.offset_dims, (a for a in range(len(table.shape)) if a not in chosen), strict=True))
    shadows = [s.reshape([s.shape[at[a]] if a in at else 1 for a in range(len(shape))]) for s in table.shadows]
    free = frozenset(new for new, old in at.items() if old in table.free)
    return [Value(shape, shadows, free, table.made or index.made)]


RULES: Mapping = {
    "reshape": reshape,
    "transpose": transpose,
    "broadcast_in_dim": broadcast,
    "squeeze": squeeze,
    "rev": rev,
    "slice": cut,
    "split": split,
    "concatenate": concatenate,
    "stack": stack,
    "pad": pad,
    "gather": gather,
}
