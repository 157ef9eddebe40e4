"""What the writer knows of a tensor: its name, and how it lies.

JAX traces with channels last, ONNX convolves with channels first. So an array of the traced program is a tensor of the
graph together with the order of its axes: transposing an array changes the order and writes nothing. Likewise axes of
size 1 need not be there, and a broadcast array keeps the 1 that it was broadcast from, as ONNX broadcasts by itself.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

Axes = tuple[int | None, ...]
PRIME = 1_000_003  # stands for the batch where sizes are compared: no product of other sizes is a multiple of it


@dataclasses.dataclass(frozen=True)
class Value:
    """An array of the traced program that depends on the pictures. (What does not is a NumPy array.)

    Attributes:
      name: of the tensor.
      dims: of the array: numbers, or expressions of the batch; 1 along an axis that it is broadcast along.
      axes: for each axis of the tensor the axis of the array that it is, or None for one of size 1 that is none of
        them. Axes of the array that stand nowhere have size 1.
      dtype: of the elements.
      positive: no element is below zero.
      pending: the operation that it comes from, where constants behind it may still go into it (`pending.py`).
    """

    name: str
    dims: tuple[Any, ...]
    axes: Axes
    dtype: np.dtype
    positive: bool = False
    pending: Any = None

    @property
    def rank(self) -> int:
        """Of the array."""
        return len(self.dims)

    def shape(self, axes: Axes | None = None) -> tuple[Any, ...]:
        """Of the tensor, or as it would be with other axes."""
        return tuple(1 if axis is None else self.dims[axis] for axis in (self.axes if axes is None else axes))

    def large(self, axes: Axes | None = None) -> list[int]:
        """The axes of the array above size 1, in the order of the tensor (of other axes)."""
        axes = self.axes if axes is None else axes
        return [axis for axis in axes if axis is not None and not is_one(self.dims[axis])]


def is_one(size: Any) -> bool:
    """Whether it is the number 1: not so for an expression of the batch."""
    return isinstance(size, (int, np.integer)) and size == 1


def number(size: Any) -> int:
    """A size as a number, with `PRIME` for the batch."""
    if isinstance(size, (int, np.integer)):
        return int(size)
    (batch,) = size._get_vars()
    return int(size._evaluate({batch: PRIME}))


def transposed(value: Value, permutation: Sequence[int]) -> Value:
    """As `jnp.transpose`; nothing is written."""
    place = {old: new for new, old in enumerate(permutation)}
    axes = tuple(None if axis is None else place[axis] for axis in value.axes)
    return dataclasses.replace(value, dims=tuple(value.dims[axis] for axis in permutation), axes=axes)


def groups(old: Sequence[Any], new: Sequence[Any]) -> list[tuple[list[int], list[int]]]:
    """Which axes of the old shape become which of the new one, in order, those of size 1 left out.

    Each pair has one axis on one of its sides wherever that is possible.
    """
    left, right = ([(i, number(n)) for i, n in enumerate(dims) if not is_one(n)] for dims in (old, new))
    pairs: list[tuple[list[int], list[int]]] = []
    while left or right:
        (i, a), (j, b) = left.pop(0), right.pop(0)
        pair = ([i], [j])
        while a != b:
            if a < b:
                i, more = left.pop(0)
                a *= more
                pair[0].append(i)
            else:
                j, more = right.pop(0)
                b *= more
                pair[1].append(j)
        pairs.append(pair)
    return pairs
