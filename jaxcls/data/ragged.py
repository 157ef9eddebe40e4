"""Graphs of different sizes, one behind the other, and as leaves of a batch: dense, padded to one size."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxcls.data.base import Around, ArraySource, Leaf, Source, digest, leaves
from jaxcls.errors import UserError

IN_MEMORY = 2**30  # bytes of dense graphs up to which those of pictures in memory are made at once
EDGES = ("own", "none", "shuffled")


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Graphs of n examples.

    Attributes:
      nodes: float32 [all nodes, f], graph by graph.
      edges: (from, to), whole numbers within the graph: [all edges, 2].
      node_counts, edge_counts: of each graph, int64 [n].
      weights: of the edges, float32 [all edges]; None: 1.
      positions: of the nodes in a picture, from above and from the left in shares of its sides: float32 [all nodes, 2],
        or the column of `nodes` where they begin; None where nothing is known of them.
    """

    nodes: np.ndarray
    edges: np.ndarray
    node_counts: np.ndarray
    edge_counts: np.ndarray
    weights: np.ndarray | None = None
    positions: np.ndarray | int | None = None

    def __len__(self) -> int:
        return len(self.node_counts)

    @property
    def largest(self) -> int:
        """Nodes of the largest graph."""
        return int(self.node_counts.max(initial=0))

    def leaves(self, size: int) -> dict[str, Leaf]:
        """Those of an example, padded to `size` nodes."""
        kind = np.dtype(np.uint8 if self.weights is None else np.float32)
        found = {"nodes": Leaf((size, self.nodes.shape[1]), np.dtype(np.float32)), "edges": Leaf((size, size), kind)}
        found["node_mask"] = Leaf((size,), np.dtype(np.float32))
        if self.positions is not None:
            found["positions"] = Leaf((size, 2), np.dtype(np.float32))
        return found

    def dense(self, first: int, last: int, size: int) -> dict[str, np.ndarray]:
        """Graphs `first` to `last - 1` as arrays [last - first, ...] of `leaves(size)`; edges[i, to, from]."""
        n, counts = last - first, self.node_counts[first:last]
        out = {name: np.zeros((n, *(leaf.shape or ())), leaf.dtype) for name, leaf in self.leaves(size).items()}
        start, edge = (starts[first] for starts in self._starts)
        nodes = slice(start, start + counts.sum())
        graph = np.repeat(np.arange(n), counts)
        place = np.arange(nodes.stop - start) - np.repeat(np.cumsum(counts) - counts, counts)
        out["nodes"][graph, place] = self.nodes[nodes]
        out["node_mask"][graph, place] = 1
        if self.positions is not None:
            out["positions"][graph, place] = self._positions(nodes)
        edges = slice(edge, edge + self.edge_counts[first:last].sum())
        graph, ends = np.repeat(np.arange(n), self.edge_counts[first:last]), self.edges[edges]
        out["edges"][graph, ends[:, 1], ends[:, 0]] = 1 if self.weights is None else self.weights[edges]
        return out

    def _positions(self, rows):
        if isinstance(self.positions, int):
            return self.nodes[rows, self.positions : self.positions + 2]
        assert self.positions is not None
        return self.positions[rows]

    @functools.cached_property
    def _starts(self):
        """The first node, and the first edge, of each graph."""
        return [np.cumsum(counts) - counts for counts in (self.node_counts, self.edge_counts)]


def with_edges(opened: Callable[[], Ragged], how: str) -> Ragged:
    """The graphs with other edges, to see what their own are worth.

    "none"; "shuffled": those of the graph whose nodes were drawn into another order, so that degrees and weights stay
    and what is near or touches does not. Drawn by NumPy's Philox with the number of nodes as its key: always the same.
    """
    graphs = opened()
    if how == "none":
        no = {"edges": graphs.edges[:0], "edge_counts": np.zeros_like(graphs.edge_counts)}
        return dataclasses.replace(graphs, **no, weights=None if graphs.weights is None else graphs.weights[:0])
    if how == "own":
        return graphs
    rng = np.random.Generator(np.random.Philox(key=len(graphs.nodes)))
    graph = np.repeat(np.arange(len(graphs)), graphs.node_counts)
    order = np.lexsort((rng.random(len(graph)), graph))
    starts = np.cumsum(graphs.node_counts) - graphs.node_counts
    new = order - starts[graph]
    ends = graphs.edges + np.repeat(starts, graphs.edge_counts)[:, None]
    return dataclasses.replace(graphs, edges=new[ends])


def beside(source: Any, opened: Callable[[], Ragged], size: int) -> Source:
    """The examples of a source with the leaves `nodes`, `edges`, `node_mask` (and `positions`) of their graphs.

    Pictures in memory stay there, and get dense graphs beside them up to IN_MEMORY.

    Args:
      source: the examples.
      opened: gives their graphs; can be pickled, for workers, which open them themselves.
      size: nodes to which graphs are padded.

    Raises:
      UserError: where a graph is larger, or there are not as many as examples.
    """
    graphs = opened()
    if graphs.largest > size:
        raise UserError(f"a graph has {graphs.largest} nodes, more than nodes={size}; give its, or leave it out.")
    if len(graphs) != len(source):
        raise UserError(f"there are {len(graphs):,} graphs for {len(source):,} examples; they must match.")
    each = sum(int(np.prod(leaf.shape or ())) * leaf.dtype.itemsize for leaf in graphs.leaves(size).values())
    if isinstance(source, ArraySource) and each * len(source) <= IN_MEMORY:
        more = {**source.more, **graphs.dense(0, len(graphs), size)}
        return ArraySource(source.images, source.labels, source.classes, source.ids, more=more)
    return Graphs(source, opened, size)


class Graphs(Around):
    """A source whose graphs become dense when an example is asked for; `beside` makes it."""

    def __init__(self, inner: Source, opened: Callable[[], Ragged], size: int):
        self.inner, self.opened, self.size = inner, opened, size
        self.leaves = {**leaves(inner), **self.graphs.leaves(size)}

    @functools.cached_property
    def graphs(self) -> Ragged:
        """All of them."""
        return self.opened()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "graphs"}

    def __getattr__(self, name: str) -> Any:
        if name in ("images", "arrays", "more", "with_images"):  # a set in memory as a whole, which this is not
            raise AttributeError(name)
        return super().__getattr__(name)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the source, and of the graphs."""
        parts = [self.graphs.nodes, self.graphs.edges, self.graphs.node_counts, self.graphs.edge_counts]
        return digest(self.inner.fingerprint.encode(), *map(np.ascontiguousarray, parts), str(self.size).encode())

    def __getitem__(self, row: int) -> dict[str, Any]:
        row = range(len(self))[row]
        found: Mapping[str, np.ndarray] = self.graphs.dense(row, row + 1, self.size)
        return {**self.inner[row], **{name: array[0] for name, array in found.items()}}
