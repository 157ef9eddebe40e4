"""Channel groups of a network: what goes together, from its traced program and not from its class."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxcls.prune import rules
from jaxcls.prune.program import Program, trace
from jaxcls.prune.shadow import Places, Shadow, Value, constant, fix, varying

Key = tuple[str, int, bool]  # a parameter's name, its axis, and whether a product sums over that


@dataclasses.dataclass(frozen=True, eq=False)
class Member:
    """An axis of a parameter, or of a statistic, whose places belong to a group.

    Fields:
      name: with its collection, "params/conv1/kernel".
      axis: of the array.
      places: `[units, n]`, the n indices along the axis that each unit has there.
      consumes: whether a product sums over the axis (a kernel's inputs); else the unit is made there.
    """

    name: str
    axis: int
    places: np.ndarray
    consumes: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Units that touch the same axes: any of them may go, but not all.

    Fields:
      members: in the order of the variables.
      roots: `[units]`, how `Groups.shadows` call the units.
      why: why none of them may go; "" where they may.
    """

    members: tuple[Member, ...]
    roots: np.ndarray
    why: str

    @property
    def units(self) -> int:
        """How many there are."""
        return len(self.roots)

    @property
    def name(self) -> str:
        """Of the layer that makes the units (the first, where there are several)."""
        makers = [member for member in self.members if not member.consumes] or self.members
        kernels = [member for member in makers if member.name.endswith("/kernel")] or makers
        return kernels[0].name.split("/", 1)[-1].rpartition("/")[0] or kernels[0].name


@dataclasses.dataclass(frozen=True, eq=False)
class Groups:
    """All groups of a network, and the program that they were found in.

    Fields:
      groups: those that may be pruned first, each kind in the order of the variables. Windows of convolutions and axes
        of size 1 are in none.
      shapes: name -> shape of every variable.
      unknown: primitives without a rule; what flows into them is kept.
      unused: variables that the program doesn't read; all of their axes are kept.
      program: the steps.
      shadows: of every value of the program, each along one axis (elsewhere of size 1), of different axes; entries are
        `Group.roots` (or of no group: zeros that are padded). Axes without one keep their size, unless they are
        constant or broadcast and meet one that has.
    """

    groups: tuple[Group, ...]
    shapes: Mapping[str, tuple[int, ...]]
    unknown: tuple[str, ...]
    unused: tuple[str, ...]
    program: Program
    shadows: tuple[tuple[Shadow, ...], ...]

    @property
    def prunable(self) -> tuple[Group, ...]:
        """Those whose units may go."""
        return tuple(group for group in self.groups if not group.why)


def find(model: Any, picture_shape: Sequence[int]) -> Groups:
    """The channel groups of a model for pictures of that shape (height, width, channels).

    Nothing is computed: the model is traced once. A unit is what can only go together; a removed unit leaves the
    others' values as if it had been zero, so nothing that a mean, norm or softmax is taken over may go: streams behind
    a LayerNorm over channels are kept whole. Heads of attention and, where they are more than the channels of one,
    groups of grouped convolutions go whole.
    """
    return of_program(trace(model, picture_shape))


def of_program(program: Program) -> Groups:
    """`find`, in a program that is there."""
    places = Places()
    axes, values = _begin(places, program)
    for step in program.steps:
        made = rules.apply(places, step, [values[i] for i in step.inputs])
        values |= zip(step.outputs, made, strict=True)
    logits = values[program.outputs[0]]
    fix(places, logits, range(len(logits.shape)), "the classes")
    read = {i for step in program.steps for i in step.inputs} | set(program.outputs)
    unused = tuple(name for name, value in program.variables.items() if value not in read)
    for (name, _), own in axes.items():
        if name in unused:
            places.freeze(own, "the program doesn't read it")
    _resolve(places, axes.values())
    tidied = (map(places.tidy, values[i].shadows) for i in range(len(program.shapes)))
    shadows = tuple(tuple(places.find(shadow) for shadow in some if shadow is not None) for some in tidied)
    shapes = {name: program.shapes[value] for name, value in program.variables.items()}
    return Groups(_groups(places, axes), shapes, tuple(sorted(places.unknown)), unused, program, shadows)


def _begin(places, program):
    """(name, axis) -> places, and the values that are there before the first step."""
    axes, values = {}, {}
    for number, array in program.constants.items():
        values[number] = constant(program.shapes[number], zero=_is_zero(array))
    for name, number in program.variables.items():
        shape = program.shapes[number]
        shadows = []
        for axis, size in enumerate(shape):
            if size > 1:
                axes[name, axis] = places.new(size)
                shadows.append(axes[name, axis].reshape([-1 if i == axis else 1 for i in range(len(shape))]))
        values[number] = Value(shape, shadows)
    for number in program.inputs:  # keys: what is drawn from them is cut to what it meets
        values.setdefault(number, constant(program.shapes[number]))
    shape = program.shapes[program.pictures]
    channels = places.new(shape[-1], "the channels of the pictures")
    shadows = [channels.reshape(*[1] * (len(shape) - 1), -1)] if shape[-1] > 1 else []
    values[program.pictures] = Value(shape, shadows, made=True)
    return axes, values


def _is_zero(array):
    return not isinstance(array, jax.core.Tracer) and np.ndim(array) == 0 and bool(array == 0)


def _resolve(places, axes):
    """What remains to be joined: units along one axis of every value; and none that is all of an axis."""
    for shadow in map(places.tidy, places.several):
        if shadow is not None and len(varying(shadow)) > 1:
            ranked = sorted(varying(shadow), key=lambda axis: (shadow.shape[axis], axis))
            places.unite(shadow, ranked[:-1])
    for shadow in [*axes, *places.parts]:
        places.tidy(shadow)


def _groups(places, axes):
    """Units by what they touch."""
    rows: dict[int, dict[Key, list[int]]] = {}
    summed = set(np.concatenate([np.zeros(0, int), *(s.ravel() for s in places.consumed)]).tolist())
    part: dict[int, list[int]] = {}
    for number, shadow in enumerate(places.parts):
        for root in np.unique(places.find(shadow)).tolist():
            part.setdefault(root, []).append(number)
    for (name, axis), own in axes.items():
        for index, (place, root) in enumerate(zip(own.tolist(), places.find(own).tolist(), strict=True)):
            rows.setdefault(root, {}).setdefault((name, axis, place in summed), []).append(index)
    found: dict[Any, list[int]] = {}
    for root, touched in rows.items():
        signature = tuple((key, len(indices)) for key, indices in touched.items())
        found.setdefault((signature, tuple(part.get(root, ())), places.why(root)), []).append(root)
    groups = []
    for (signature, _, why), roots in found.items():
        members = tuple(
            Member(name, axis, np.array([rows[root][name, axis, sums] for root in roots]), sums)
            for (name, axis, sums), _ in signature
        )
        if why != rules.sums.WINDOW:
            groups.append(Group(members, np.array(roots), why))
    return tuple(sorted(groups, key=lambda group: bool(group.why)))
