"""A tree over the classes: which classes have which ancestors, how far apart two of them are."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxcls.data import class_names
from jaxcls.errors import Problems, UserError, did_you_mean, listed

if TYPE_CHECKING:
    from jaxtyping import Int

ROOT = "(root)"  # what stands above several roots is called


@dataclasses.dataclass(frozen=True, eq=False)
class ClassTree:
    """A tree, less the nodes that have no class below them. A class may be a leaf or stand above others.

    Attributes:
      classes: their names, in the order of the logits.
      nodes: names; the first classes' own, in their order, then all others.
      parent: number of the node above each node, -1 for the root alone.
      roots: how many nodes of the file had no parent; above several a root called ROOT was put.
    """

    classes: tuple[str, ...]
    nodes: tuple[str, ...]
    parent: Int[np.ndarray, " nodes"]
    roots: int = 1

    @functools.cached_property
    def paths(self) -> Int[np.ndarray, "levels classes"]:
        """The node of each class at each level: level 0 is the root, and below its own level a class is itself."""
        ways = []
        for node in range(len(self.classes)):
            way = [node]
            while self.parent[way[-1]] >= 0:
                way.append(int(self.parent[way[-1]]))
            ways.append(way[::-1])
        deepest = max(map(len, ways))
        return np.array([way + way[-1:] * (deepest - len(way)) for way in ways]).T

    @functools.cached_property
    def depth(self) -> Int[np.ndarray, " nodes"]:
        """Edges from the root to each node."""
        depth = np.zeros(len(self.nodes), np.int64)
        for level in range(1, len(self.paths)):
            depth[self.paths[level][self.paths[level] != self.paths[level - 1]]] = level
        return depth

    @functools.cached_property
    def height(self) -> Int[np.ndarray, " nodes"]:
        """Edges from each node down to the deepest class below it."""
        deepest, own = np.zeros(len(self.nodes), np.int64), self.depth[: len(self.classes)]
        for nodes in self.paths:
            np.maximum.at(deepest, nodes, own)
        return deepest - self.depth

    @functools.cached_property
    def levels(self) -> tuple[int, ...]:
        """The levels at which classes fall into several groups, other ones than at the level above; the last one is
        that of the classes themselves."""
        groups = [len(np.unique(nodes)) for nodes in self.paths]
        return tuple(level for level in range(1, len(groups)) if groups[level] > groups[level - 1])

    def groups(self, level: int) -> tuple[tuple[str, ...], Int[np.ndarray, " classes"]]:
        """(names of the nodes of a level, number among them of each class), in the order of their first classes."""
        nodes, first, number = np.unique(self.paths[level], return_index=True, return_inverse=True)
        order = np.argsort(first)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return tuple(self.nodes[node] for node in nodes[order]), place[number]

    def meeting(self, a: Int[np.ndarray, " *n"], b: Int[np.ndarray, " *n"]) -> Int[np.ndarray, " *n"]:
        """The lowest common ancestor of classes a and b, as numbers of nodes; of a class and itself that class."""
        a, b = np.broadcast_arrays(a, b)
        found = np.zeros(a.shape, np.int64)
        for nodes in self.paths:  # once apart, two classes never meet again
            found = np.where(nodes[a] == nodes[b], nodes[a], found)
        return found

    def edges(self, a: Int[np.ndarray, " *n"], b: Int[np.ndarray, " *n"]) -> Int[np.ndarray, " *n"]:
        """The number of edges on the way from class a to class b."""
        return self.depth[a] + self.depth[b] - 2 * self.depth[self.meeting(a, b)]

    def severity(self, a: Int[np.ndarray, " *n"], b: Int[np.ndarray, " *n"]) -> Int[np.ndarray, " *n"]:
        """How bad it is to take class a for class b: the height of their lowest common ancestor (Bertinetto et al.
        2020, Making better mistakes), 0 for a class and itself."""
        return np.where(np.equal(a, b), 0, self.height[self.meeting(a, b)])

    def lines(self) -> list[str]:
        """What it is like, for people."""
        sizes = [f"{len(self.groups(level)[0]):,}" for level in self.levels]
        lines = [f"class tree: {len(self.classes):,} classes in {' > '.join(sizes)} groups by level"]
        if self.roots > 1:
            lines.append(f"class tree: it has {self.roots:,} roots, which were put below one")
        return lines


def build(parents: Mapping[str, str], classes: Sequence[str], what: str) -> ClassTree:
    """The tree of child -> parent ("" for none) over these classes.

    Raises:
      UserError: a line for each kind of mistake: cycles, classes that are nowhere in it, or a tree that groups nothing.
        `what` begins the lines.
    """
    problems = Problems()
    known = {*parents, *parents.values()} - {""}
    with problems.noted():
        _refuse_cycles(parents, what)
    with problems.noted():
        if missing := [name for name in classes if name not in known]:
            near = did_you_mean(missing[0], _alike(missing[0], known)) or f"; it has {listed(sorted(known), 5)}"
            raise UserError(f"{what} has no line for {len(missing):,} of the classes, the first {missing[0]!r}{near}")
    problems.refuse()
    above = {}  # of the classes and their ancestors alone
    for name in classes:
        while name and name not in above:
            above[name] = parents.get(name, "")
            name = above[name]
    nodes = [*classes, *(name for name in above if name not in set(classes))]
    tops, number = [name for name in nodes if not above[name]], {name: i for i, name in enumerate(nodes)}
    root = [] if len(tops) == 1 else [ROOT]
    parent = [number[above[name]] if above[name] else len(nodes) if root else -1 for name in nodes]
    tree = ClassTree(tuple(classes), (*nodes, *root), np.array(parent + [-1] * len(root)), len(tops))
    if len(tree.levels) < 2:
        raise UserError(f"{what} puts no classes together, so it tells nothing of them; give them parents.")
    return tree


def _alike(name, known):
    """The names that read the same but for case and blanks; all of them where none does."""
    same = {other: other for other in known if class_names.form(other) == class_names.form(name)}
    return {name: next(iter(same))} if same else known


def _refuse_cycles(parents, what):
    done, cycles = set(), []
    for name in parents:
        way = {}
        while name and name not in done and name not in way:
            way[name] = None
            name = parents.get(name, "")
        if name in way:
            around = list(way)
            cycles.append([*around[around.index(name) :], name])
        done.update(way)
    if cycles:
        text = " > ".join(cycles[0][:8]) + (" > ..." if len(cycles[0]) > 8 else "")
        more = f" and {len(cycles) - 1:,} more" if len(cycles) > 1 else ""
        raise UserError(f"{what} goes in a circle: {text}{more}; leave the parent of a root empty.")
