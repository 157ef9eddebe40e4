"""The graph while it grows: nodes in order, constants, and tensors brought into the order that an operator needs."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxcls.export.value import Axes, Value, groups, is_one


@dataclasses.dataclass
class Node:
    """An operator with names of tensors; `label` is where in the model it stands."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)
    label: str = ""


class Padded(NamedTuple):
    """Where a padded tensor comes from: for pools, which pad by themselves.

    Attributes:
      name: of the tensor before.
      widths: (before, after) for each of its axes.
      fill: what it is padded with.
      positive: nothing in the tensor is below zero.
    """

    name: str
    widths: list[tuple[int, int]]
    fill: float
    positive: bool


class Graph:
    """Nodes and constants. `place` is the module that is being written, for the labels of nodes."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []  # Node, or what is pending, which becomes nodes in the end
        self.constants: dict[str, np.ndarray] = {}
        self.padded: dict[str, Padded] = {}  # by the name of the padded tensor
        self.place = ""
        self._known: dict[Any, str] = {}
        self._laid: dict[Any, str] = {}
        self._number = 0

    def name(self, what: str) -> str:
        """A new name."""
        self._number += 1
        return f"{what.lower()}_{self._number}"

    def constant(self, array: np.ndarray) -> str:
        """The name of a constant; equal small ones are one."""
        array = np.asarray(array)
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= 4096 else id(array)
        if key not in self._known or array.size > 4096:
            self._known[key] = self.name("constant")
            self.constants[self._known[key]] = array
        return self._known[key]

    def node(self, op: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> list[str]:
        """Appends a node; the names of what it gives."""
        names = [self.name(op) for _ in range(outputs)]
        self.nodes.append(Node(op, list(inputs), names, attributes, self.place))
        return names

    def value(self, op: str, inputs: Sequence[str], like: Value, **changes: Any) -> Value:
        """Appends a node with one output, which is laid as `like` but for the changes; `attributes` are the node's."""
        attributes = changes.pop("attributes", {})
        (name,) = self.node(op, inputs, **attributes)
        return dataclasses.replace(like, **{"positive": False, **changes}, name=name, pending=None)

    def lay(self, value: Value, axes: Axes, *, short: bool = False) -> str:
        """The name of a tensor of the value's array with exactly these axes; `short`: leading 1s may be missing."""
        if value.large() == value.large(axes):
            have, want = value.shape(), value.shape(axes)
            if have == want or (short and _stripped(have) == _stripped(want)):
                return value.name
        key = (value.name, value.axes, axes)
        if key not in self._laid:
            self._laid[key] = self._lay(value, axes)
        return self._laid[key]

    def _lay(self, value, axes):
        name, have = value.name, value.axes
        if value.large() != value.large(axes):
            absent = [axis for axis in axes if axis is not None and axis not in have]
            have = tuple(absent.pop(0) if axis is None and absent else axis for axis in have)
            order = {axis: place for place, axis in enumerate(axes)}
            permutation = sorted(range(len(have)), key=lambda p: order.get(have[p], -1))
            have = tuple(have[p] for p in permutation)
            (name,) = self.node("Transpose", [name], perm=permutation)
        return name if value.shape(have) == value.shape(axes) else self.shaped(name, value.shape(axes))

    def shaped(self, name: str, shape: Sequence[Any]) -> str:
        """The tensor in another shape, of which one size may depend on the batch."""
        sizes = [n if isinstance(n, (int, np.integer)) else -1 for n in shape]
        return self.node("Reshape", [name, self.constant(np.array(sizes, np.int64))])[0]

    def reshape(self, value: Value, dims: Sequence[Any]) -> Value:
        """As `jnp.reshape`; a node only where axes are split or merged, a Transpose only where those do not lie so."""
        pairs = groups(value.dims, dims)
        if all(len(old) == len(new) == 1 for old, new in pairs):
            renamed = {old: new for (old,), (new,) in pairs}
            axes = tuple(None if axis is None else renamed.get(axis) for axis in value.axes)
            return dataclasses.replace(value, dims=tuple(dims), axes=axes)
        order = value.large()
        if any(_apart(order, old) for old, _ in pairs):  # then at once in the order of the array
            order = sorted(order)
        name = self.lay(value, tuple(order)) if order != value.large() else value.name
        of = {old[0]: new for old, new in pairs}
        split = tuple(axis for place in order for axis in of.get(place, ()))
        name = self.shaped(name, [dims[axis] for axis in split])
        return Value(name, tuple(dims), split, value.dtype, value.positive)

    def full(self, value: Value, dims: Sequence[Any]) -> Value:
        """The value with the sizes that it is broadcast to, which are written where an operator needs them."""
        if all(a is b or a == b for a, b in zip(value.dims, dims, strict=True)):
            return value
        axes = tuple(range(value.rank))
        parts = [_part(self, size) for size in dims]
        sizes = self.node("Concat", parts, axis=0)[0] if len(parts) > 1 else parts[0]
        name = self.node("Expand", [self.lay(value, axes, short=True), sizes])[0]
        return Value(name, tuple(dims), axes, value.dtype, value.positive)

    def of_constant(self, array: np.ndarray, dims: Sequence[Any]) -> Value:
        """A constant as a value, for an operator that takes no constants; of these sizes."""
        axes = tuple(range(array.ndim))
        return self.full(Value(self.constant(array), array.shape, axes, array.dtype), dims)


def _part(graph, size):
    """A size as a tensor of one number: the batch is that of the picture."""
    if isinstance(size, (int, np.integer)):
        return graph.constant(np.array([size], np.int64))
    batch = graph.node("Shape", ["image"], start=0, end=1)[0]
    (variable,) = size._get_vars()
    times, rest = size._evaluate({variable: 1}), size._evaluate({variable: 0})
    if rest:
        raise NotImplementedError(f"a size of {size}")
    return batch if times == 1 else graph.node("Mul", [batch, graph.constant(np.array([times], np.int64))])[0]


def _stripped(shape):
    while shape and is_one(shape[0]):
        shape = shape[1:]
    return shape


def _apart(order, axes):
    """Whether axes don't lie side by side, in turn."""
    first = order.index(axes[0])
    return order[first : first + len(axes)] != axes
