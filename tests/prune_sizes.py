"""Whether a program still fits together when units are gone: sizes of its values, by the shadows."""

import math

import numpy as np

from jaxcls.prune import rules


def sizes(found, gone):
    """The shape of every value without those units (roots)."""
    shapes = [list(shape) for shape in found.program.shapes]
    for shape, shadows in zip(shapes, found.shadows, strict=True):
        for shadow in shadows:
            (axis,) = [axis for axis, size in enumerate(shadow.shape) if size > 1]
            assert shadow.size == shape[axis]
            shape[axis] = int((~np.isin(shadow, gone)).sum())
            assert shape[axis] > 0
    return shapes


def check(found, gone):
    """Asserts that the sizes of what meets are equal, at every step."""
    shapes = sizes(found, gone)
    for step in found.program.steps:
        ins, (out, *_) = [shapes[i] for i in step.inputs], [shapes[i] for i in step.outputs]
        full = [found.program.shapes[i] for i in step.inputs]
        name, settings = step.primitive, step.settings
        if name in rules.ENTRYWISE:  # what is as long as ever is constant or broadcast there
            for shape, old in zip(ins, full, strict=True):
                assert all(size in (want, was) for size, want, was in zip(shape, out, old, strict=False)), step
        elif name == "dot_general":
            (left, right), (left_batch, right_batch) = settings["dimension_numbers"]
            assert [ins[0][i] for i in (*left, *left_batch)] == [ins[1][i] for i in (*right, *right_batch)], step
        elif name == "conv_general_dilated":
            numbers = settings["dimension_numbers"]
            features, (made, read) = ins[0][numbers.lhs_spec[1]], (ins[1][i] for i in numbers.rhs_spec[:2])
            assert features % read == 0 and made % (features // read) == 0, step
            assert out[numbers.out_spec[1]] == made, step
            assert settings["feature_group_count"] > 1 or features == read, step
        elif name == "reshape" and found.shadows[step.outputs[0]]:
            assert math.prod(ins[0]) == math.prod(out), step
        elif name == "concatenate":
            axis = settings["dimension"]
            assert out[axis] == sum(shape[axis] for shape in ins), step
            assert all(shape[:axis] + shape[axis + 1 :] == out[:axis] + out[axis + 1 :] for shape in ins), step
        elif name == "split":
            assert ins[0][settings["axis"]] == sum(shapes[i][settings["axis"]] for i in step.outputs), step
        elif name == "stack":
            assert all(shape == ins[0] for shape in ins), step
