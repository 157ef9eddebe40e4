"""Rules of operations that sum or compare over axes: products, convolutions, reductions, windows."""

import dataclasses
from collections.abc import Mapping, Sequence

from jaxcls.prune.moves import reshaped
from jaxcls.prune.program import Step
from jaxcls.prune.shadow import Places, Value, fix, joined, varying

WINDOW = "the window of a convolution"
WHOLE = "it meets an axis that stays whole"
OVER = "a {} is taken over its channels"


def dot_general(places: Places, step: Step, values: Sequence[Value]) -> list[Value]:
    """A matrix product: places that are multiplied and summed go together, the other axes are the result's.

    What varies along a batch axis and a summed one, too (heads of attention), goes whole along the summed one: the
    result's entry is there or not.
    """
    left, right = values
    (left_sum, right_sum), (left_batch, right_batch) = step.settings["dimension_numbers"]
    left_own = [axis for axis in range(len(left.shape)) if axis not in (*left_sum, *left_batch)]
    right_own = [axis for axis in range(len(right.shape)) if axis not in (*right_sum, *right_batch)]
    batch, summed = len(left_batch), len(left_sum)
    total = batch + summed + len(left_own) + len(right_own)
    here = [*left_batch, *left_sum, *left_own]
    there = [*right_batch, *right_sum, *right_own]
    left = _placed(left, dict(zip(here, range(total), strict=False)), total)
    at = [*range(batch + summed), *range(total - len(right_own), total)]
    right = _placed(right, dict(zip(there, at, strict=True)), total)

    sums = set(range(batch, batch + summed))
    both = sums | set(range(batch))
    stay_left = (left.fixed & both) | (left.free & left.long & sums)
    stay_right = (right.fixed & both) | (right.free & right.long & sums)
    left, right = fix(places, left, stay_right - stay_left, WHOLE), fix(places, right, stay_left - stay_right, WHOLE)
    if not (left.made and right.made):
        weights = left if right.made else right
        places.consumed += [shadow for shadow in weights.shadows if varying(shadow) & sums]

    shadows = []
    for shadow in places.settle([*left.shadows, *right.shadows]):
        over = varying(shadow) & sums
        if over and over == varying(shadow):
            continue
        shadow = places.unite(shadow, over) if over else shadow
        shadows.append(shadow.squeeze(tuple(sums)))
    free = {axis for axis in left.free | right.free if axis not in both} | (left.free & right.free & both) - sums
    shape = [max(a, b) for axis, (a, b) in enumerate(zip(left.shape, right.shape, strict=True)) if axis not in sums]
    moved = frozenset(axis - summed if axis >= batch else axis for axis in free)
    return [Value(tuple(shape), places.settle(shadows), moved, made=True)]


def _placed(value, position, total):
    """The value with its axes at those positions of `total` ones, the others of size 1."""
    order = sorted(position, key=position.__getitem__)

    def spread(sizes, one=1):
        full = [one] * total
        for axis in order:
            full[position[axis]] = sizes[axis]
        return tuple(full)

    shadows = [s.transpose(order).reshape(spread(s.shape)) for s in value.shadows]
    free = frozenset(position[axis] for axis in value.free)
    return Value(spread(value.shape), shadows, free, value.made)


def convolution(places: Places, step: Step, values: Sequence[Value]) -> list[Value]:
    """A convolution: a product over channels; nothing goes along the axes of its window."""
    numbers, groups = step.settings["dimension_numbers"], step.settings["feature_group_count"]
    x = _only(places, values[0], numbers.lhs_spec[:2])
    kernel = _only(places, values[1], numbers.rhs_spec[:2])
    if step.settings["batch_group_count"] != 1:
        x, kernel = fix(places, x, (0, 1), WHOLE), fix(places, kernel, (0, 1), WHOLE)
        y = Value((1, 1), made=True)
    elif groups == 1:
        over = Step("", {"dimension_numbers": (((1,), (1,)), ((), ()))})
        (y,) = dot_general(places, over, [x, kernel])
    else:
        y = _grouped(places, x, kernel, groups)
    spec = numbers.out_spec
    return [dataclasses.replace(_placed(y, {0: spec[0], 1: spec[1]}, len(spec)), shape=step.shapes[0])]


def _only(places, value, axes):
    """The value with those two axes alone."""
    others = [axis for axis in range(len(value.shape)) if axis not in axes]
    value = fix(places, value, others, WINDOW)
    shadows = [
        shadow.transpose(*axes, *others).reshape([shadow.shape[axis] for axis in axes]) for shadow in value.shadows
    ]
    free = frozenset(i for i, axis in enumerate(axes) if axis in value.free)
    return Value(tuple(value.shape[axis] for axis in axes), shadows, free, value.made)


def _grouped(places, x, kernel, groups):
    """[b, f] with [o, f / groups]: whole groups go, or the same place of all groups, whichever are more units."""
    (batch, _), (out, inside) = x.shape, kernel.shape
    x = reshaped(places, x, (batch, groups, inside))
    kernel = reshaped(places, kernel, (groups, out // groups, inside))
    if inside <= groups:
        x = fix(places, x, [2], WHOLE)
        kernel = fix(places, kernel, [2], "the inside of a group of a grouped convolution")
        each = (batch, groups, out // groups)
        x = Value(each, [s.reshape(s.shape[:2] + (1,)) for s in x.shadows], x.free | {2}, x.made)
        kernel = Value(each, [s.reshape((1, *s.shape[:2])) for s in kernel.shadows],
                       frozenset({0, *(axis + 1 for axis in kernel.free if axis < 2)}), kernel.made)  # fmt: skip
        y = joined(places, [x, kernel], each, WHOLE)
    else:
        x, kernel = fix(places, x, [1], WHOLE), fix(places, kernel, [0], WHOLE)
        x = Value((batch, inside), [s.squeeze(1) for s in x.shadows], x.free - {1, 2} | _at(x, 2, 1), x.made)
        one = Value((out // groups, inside), [s.squeeze(0) for s in kernel.shadows],
                    _at(kernel, 1, 0) | _at(kernel, 2, 1), kernel.made)  # fmt: skip
        over = Step("", {"dimension_numbers": (((1,), (1,)), ((), ()))})
        (y,) = dot_general(places, over, [x, one])
        y = Value((batch, groups, out // groups), [s.reshape(s.shape[0], 1, -1) for s in y.shadows],
                  made=y.made)  # fmt: skip
    return reshaped(places, y, (batch, out))


def _at(value, axis, new):
    return frozenset({new}) if axis in value.free else frozenset()


def reduction(places: Places, step: Step, values: Sequence[Value]) -> list[Value]:
    """A sum, maximum, .. over axes. Over channels it changes when some go, zero or not: means and norms do."""
    axes = step.settings["axes"]
    what = {"reduce_sum": "sum, mean or norm", "reduce_max": "maximum or softmax"}.get(step.primitive, step.primitive)
    (value,) = values
    value = fix(places, value, axes, OVER.format(what))
    rest = [axis for axis in range(len(value.shape)) if axis not in axes]
    free = frozenset(rest.index(axis) for axis in value.free & set(rest))
    shadows = [shadow.squeeze(tuple(axes)) for shadow in value.shadows]
    return [Value(tuple(value.shape[axis] for axis in rest), shadows, free, value.made)]


def window(places: Places, step: Step, values: Sequence[Value]) -> list[Value]:
    """Pooling: its axes stay."""
    settings = step.settings
    stay = [
        axis
        for axis, size in enumerate(settings["window_dimensions"])
        if (size, settings["window_strides"][axis], tuple(settings["padding"][axis])) != (1, 1, (0, 0))
    ]
    value = fix(places, values[0], stay, OVER.format("window of neighbours"))
    return [Value(step.shapes[0], value.shadows, value.free, value.made)]


RULES: Mapping = {
    "dot_general": dot_general,
    "conv_general_dilated": convolution,
    **dict.fromkeys(
        ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "argmax", "argmin"),
        reduction,
    ),
    **dict.fromkeys(("reduce_window_sum", "reduce_window_max", "reduce_window_min"), window),
}
