"""Which unit every entry of a value belongs to.

A *place* is one index of one axis of one parameter; places that can only go together are one *unit* (union-find,
Tarjan 1975). Every value of the program carries *shadows*: arrays of places with as many axes as the value, of size 1
along those on which the place does not depend. An entry goes when the unit of any of its places goes. (The idea of
DepGraph, Fang et al. 2023, arXiv 2301.12900, on places instead of layers, and on the program instead of its gradient.)
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

Shadow = np.ndarray


class Places:
    """The union-find of places, with why some can't go.

    Fields, for who groups the units in the end:
      several: shadows that vary along several axes; in the end they may do so along one only.
      parts: shadows of the parts that a step took of an axis; none of them may become empty.
      consumed: places of parameters' axes over which a product sums.
      unknown: primitives without a rule.
    """

    def __init__(self) -> None:
        self._parents = np.zeros(0, np.int64)
        self._why: dict[int, str] = {}
        self.several: list[Shadow] = []
        self.parts: list[Shadow] = []
        self.consumed: list[Shadow] = []
        self.unknown: set[str] = set()

    def new(self, n: int, why: str = "") -> Shadow:
        """`[n]` new places, each a unit of its own; with `why` they can't go."""
        places = np.arange(len(self._parents), len(self._parents) + n)
        self._parents = np.concatenate([self._parents, places])
        self.freeze(places, why)
        return places

    def find(self, places: Shadow) -> Shadow:
        """The units of places, each as one of its places."""
        roots = self._parents[places]
        while not np.array_equal(above := self._parents[roots], roots):
            roots = above
        self._parents[places] = roots
        return roots

    def join(self, one: Shadow, other: Shadow) -> None:
        """Makes units of what meets where the two are laid on each other (NumPy's broadcasting)."""
        a, b = (x.ravel() for x in np.broadcast_arrays(self.find(one), self.find(other)))
        for x, y in np.unique(np.stack([a, b], axis=1)[a != b], axis=0):
            x, y = sorted((self._root(x), self._root(y)))
            if x == y:
                continue
            self._parents[y] = x
            why = self._why.pop(y, "")
            if why:
                self._why.setdefault(x, why)

    def _root(self, place):
        while self._parents[place] != place:
            place = self._parents[place]
        return int(place)

    def freeze(self, places: Shadow, why: str) -> None:
        """Says why the units of places can't go; the first reason stays."""
        for root in np.unique(self.find(places)).tolist() if why else ():
            self._why.setdefault(root, why)

    def why(self, root: int) -> str:
        """Why a unit can't go, "" where it can."""
        return self._why.get(int(root), "")

    def unite(self, shadow: Shadow, axes: Iterable[int]) -> Shadow:
        """Joins what differs along the axes only; the shadow with size 1 along them."""
        first = shadow
        for axis in axes:
            first = first.take([0], axis)
        self.join(shadow, first)
        return first

    def tidy(self, shadow: Shadow) -> Shadow | None:
        """The shadow with size 1 along axes on which its units don't depend.

        None where it depends on none: then an axis is one unit, which can't go, as the axis would be empty.
        """
        roots = self.find(shadow)
        for axis in varying(shadow):
            first = roots.take([0], axis)
            if (roots == first).all():
                roots, shadow = first, shadow.take([0], axis)
        if varying(shadow):
            return shadow
        self.freeze(shadow, "all of an axis is one unit")
        return None

    def settle(self, shadows: Iterable[Shadow]) -> list[Shadow]:
        """Shadows that vary along axes of their own: those that share an axis are joined."""
        apart: list[Shadow] = []
        for shadow in shadows:
            touching = [x for x in apart if varying(x) & varying(shadow)]
            apart = [x for x in apart if not varying(x) & varying(shadow)]
            for other in touching:
                if other is not shadow:
                    self.join(shadow, other)
                    shadow = np.broadcast_arrays(shadow, other)[0]
            apart.append(shadow)
        kept = [shadow for shadow in map(self.tidy, apart) if shadow is not None]
        self.several += [shadow for shadow in kept if len(varying(shadow)) > 1]
        return kept


def varying(shadow: Shadow) -> set[int]:
    """The axes along which a shadow's places may differ."""
    return {axis for axis, size in enumerate(shadow.shape) if size > 1}


@dataclasses.dataclass(frozen=True)
class Value:
    """What is known of a value.

    Fields:
      shape: its own.
      shadows: see above; no two vary along the same axis.
      free: axes along which it is a constant or broadcast, and so as long as its neighbours want it.
      made: whether the pictures or a product went into it; a kernel is what has neither.
      zero: whether it is the constant 0.
    """

    shape: tuple[int, ...]
    shadows: Sequence[Shadow] = ()
    free: frozenset[int] = frozenset()
    made: bool = False
    zero: bool = False

    @property
    def fixed(self) -> set[int]:
        """The axes that stay as long as they are."""
        return self.long - self.free - {axis for shadow in self.shadows for axis in varying(shadow)}

    @property
    def long(self) -> set[int]:
        """The axes of more than one place: others have nothing to lose."""
        return {axis for axis, size in enumerate(self.shape) if size > 1}


def constant(shape: tuple[int, ...], zero: bool = False) -> Value:
    """A value that is written in the program."""
    return Value(tuple(shape), free=frozenset(range(len(shape))), zero=zero)


def fix(places: Places, value: Value, axes: Iterable[int], why: str) -> Value:
    """The value with axes that stay as long as they are.

    A shadow that varies along such an axis alone can't go; one that varies along others, too, goes whole along it.
    """
    shadows = list(value.shadows)
    for axis in axes:
        touched = [shadow for shadow in shadows if axis in varying(shadow)]
        shadows = [shadow for shadow in shadows if axis not in varying(shadow)]
        for shadow in touched:
            if varying(shadow) == {axis}:
                places.freeze(shadow, why)
            else:
                shadows.append(places.unite(shadow, [axis]))
    return dataclasses.replace(value, shadows=shadows, free=value.free - set(axes))


def joined(places: Places, values: Sequence[Value], shape: tuple[int, ...], why: str) -> Value:
    """The value of an operation entry by entry on values of that shape (scalars are broadcast)."""
    scalar = constant(shape)
    values = [v if v.shape else dataclasses.replace(scalar, made=v.made) for v in values]
    fixed = set().union(*(value.fixed for value in values))
    values = [fix(places, value, fixed - value.fixed, why) for value in values]
    return Value(
        tuple(shape),
        places.settle(shadow for value in values for shadow in value.shadows),
        frozenset.intersection(*(value.free for value in values)),
        any(value.made for value in values),
    )
