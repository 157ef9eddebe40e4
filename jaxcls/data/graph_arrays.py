"""Graphs of one's own, `graphs/FILE.npz`: arrays of `np.savez`, by their names.

    nodes    numbers [all nodes, f], graph by graph, with node_counts [n]; or padded, [n, N, f], with node_counts [n] or
             node_mask [n, N] (neither: all N are nodes)
    edges    whole numbers (from, to) within the graph, [all edges, 2], with edge_counts [n] and, where they have
             weights, edge_weights [all edges]; or dense, [n, N, N]: edges[i, to, from], a weight, 0 for none
    labels   [n]; or 0 and 1 [n, classes]                       left out: no labels
    classes  names                                              optional
    images   uint8 [n, h, w] or [n, h, w, c]                    optional: a black pixel each without
    positions [all nodes, 2] or [n, N, 2]                       optional, to draw: from above and from the left, 0 to 1

Splits by the names of the arrays: train_nodes, train_edges, ... test_nodes, ...; else the set is dealt.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jaxcls.data import arrays_file
from jaxcls.data.arrays import from_arrays
from jaxcls.data.base import Source
from jaxcls.data.dealing import ALL
from jaxcls.data.ragged import Ragged
from jaxcls.errors import UserError, listed
from jaxcls.text import printable

PARTS = ("nodes", "edges", "node_counts", "node_mask", "edge_counts", "edge_weights", "positions", "images", "labels")


def scan(path: Path) -> tuple[dict[str, tuple[Source, Callable[[], Ragged]]], int]:
    """(split or "all" -> the pictures and labels, and what gives their graphs; nodes of the largest graph) of a file.

    Raises:
      UserError: for a file that can't be read, arrays that are missing or don't fit each other.
    """
    place = f"graphs/{printable(path)}"
    with arrays_file.opened(path, place) as archive:
        names = _names(list(archive.files), place)
        parts = {
            split: {part: arrays_file.read(archive, name, place) for part, name in given.items()}
            for split, given in names.items()
        }
        classes = arrays_file.classes_of(archive, {}, place)
    graphs = {split: _ragged(given, f"{place} ({split})") for split, given in parts.items()}
    if len({found.nodes.shape[1] for found in graphs.values()}) > 1:
        raise UserError(f"{place}: the nodes of the splits have other numbers of features; make them alike.")
    sources = from_arrays({split: _pictures(given) for split, given in parts.items()}, classes, place=place)
    largest = max(found.largest for found in graphs.values())
    return {split: (sources[split], functools.partial(_given, graphs[split])) for split in graphs}, largest


def _given(graphs: Ragged) -> Ragged:
    return graphs


def _names(names, place):
    """Split or "all" -> part -> name of its array."""
    found: dict[str | None, dict[str, str]] = {}
    for name in names:
        split, part = arrays_file.parsed(name)
        if part in PARTS:
            found.setdefault(split, {})[part] = name
    if not found or any(not {"nodes", "edges"} <= given.keys() for given in found.values()):
        raise UserError(f"{place} needs arrays called nodes and edges (or train_nodes, train_edges, ...), and has "
                        f"{listed(names)}.")  # fmt: skip
    if None in found and len(found) > 1:
        raise UserError(f"{place}: some arrays have a split in their names and {found[None]['nodes']!r} has none.")
    return {ALL if split in (None, "train") and len(found) == 1 else str(split): found[split] for split in found}


def _pictures(given):
    """(images, labels or None)."""
    count = len(given["node_counts"]) if "node_counts" in given else len(given["nodes"])
    return given.get("images", np.zeros((count, 1, 1, 1), np.uint8)), given.get("labels")


def _ragged(given: Mapping[str, np.ndarray], place: str) -> Ragged:
    """The graphs of a split. Raises UserError."""
    nodes, counts, real = _nodes(given, place)
    edges, per_graph, weights = _edges(given, counts, place)
    positions = given.get("positions")
    if positions is not None:
        positions = np.asarray(positions[real] if positions.ndim == 3 and real is not None else positions, np.float32)
        if positions.shape != (len(nodes), 2):
            raise UserError(f"{place}: positions are {given['positions'].shape}; give two numbers for each node.")
    for name, array in (("nodes", nodes), ("edge_weights", weights), ("positions", positions)):
        if array is not None and not np.isfinite(array).all():
            raise UserError(f"{place}: {name} have values that are not finite (NaN); mend them first.")
    return Ragged(nodes, edges, counts, per_graph, weights, positions)


def _nodes(given, place):
    """(nodes float32 [all, f], counts int64 [n], mask [n, N] of padded ones or None)."""
    nodes, counts, mask = (given.get(name) for name in ("nodes", "node_counts", "node_mask"))
    if nodes.ndim not in (2, 3) or nodes.dtype.kind not in "biuf" or (nodes.ndim == 2 and counts is None):
        shape = f"{nodes.dtype} {nodes.shape}"
        raise UserError(f"{place}: nodes are {shape}; give [all nodes, f] with node_counts [n], or padded [n, N, f].")
    counts = None if counts is None else _whole(counts, "node_counts", place)
    if nodes.ndim == 2:
        if counts.sum() != len(nodes) or (counts < 1).any():
            raise UserError(f"{place}: node_counts add up to {counts.sum():,} for {len(nodes):,} nodes, or one is 0.")
        return nodes.astype(np.float32), counts, None
    if mask is not None and mask.shape != nodes.shape[:2]:
        raise UserError(f"{place}: node_mask is {mask.shape} for nodes {nodes.shape}; give [n, N].")
    if counts is None:
        counts = np.full(len(nodes), nodes.shape[1]) if mask is None else np.asarray(mask != 0).sum(1)
    real = np.arange(nodes.shape[1]) < counts[:, None]
    fits = len(counts) == len(nodes) and (mask is None or ((mask != 0) == real).all())
    if not fits or (counts < 1).any() or counts.max() > nodes.shape[1]:
        raise UserError(f"{place}: node_mask or node_counts do not fit nodes {nodes.shape}; real ones come first.")
    return nodes[real].astype(np.float32), counts.astype(np.int64), real


def _edges(given, counts, place):
    """(edges [all, 2], counts int64 [n], weights float32 or None)."""
    edges, per_graph, weights = (given.get(name) for name in ("edges", "edge_counts", "edge_weights"))
    if edges.ndim == 3:
        if edges.shape[0] != len(counts) or edges.shape[1] != edges.shape[2] or edges.dtype.kind not in "biuf":
            raise UserError(
                f"{place}: edges are {edges.dtype} {edges.shape} of {len(counts):,} graphs; give [n, N, N]."
            )
        graph, to, source = np.nonzero(edges)
        values = edges[graph, to, source].astype(np.float32)
        pairs, per_graph = np.stack([source, to], axis=1), np.bincount(graph, minlength=len(counts))
        weights = None if (values == 1).all() else values
    else:
        if edges.ndim != 2 or edges.shape[1] != 2 or per_graph is None:
            turned = "; turn them: edges.T" if edges.ndim == 2 and edges.shape[0] == 2 else ""
            raise UserError(f"{place}: edges are {edges.shape}; give [all edges, 2] with edge_counts [n]{turned}.")
        pairs, per_graph = _whole(edges, "edges", place, 2), _whole(per_graph, "edge_counts", place)
        weights = None if weights is None else np.asarray(weights, np.float32)
    if (
        len(per_graph) != len(counts)
        or per_graph.sum() != len(pairs)
        or (weights is not None and len(weights) != len(pairs))
    ):
        raise UserError(
            f"{place}: edge_counts or edge_weights do not fit {len(pairs):,} edges of {len(counts):,} graphs."
        )
    most = np.repeat(counts, per_graph)[:, None]
    if (wrong := ((pairs < 0) | (pairs >= most)).any(1)).any():
        graph = np.repeat(np.arange(len(counts)), per_graph)[wrong][0]
        raise UserError(f"{place}: graph {graph} of {counts[graph]} nodes has the edge {pairs[wrong][0].tolist()}; "
                        "nodes are counted from 0 within each graph.")  # fmt: skip
    return pairs, per_graph.astype(np.int64), weights


def _whole(array, name, place, axes=1):
    """Whole numbers, int64, of so many axes. Raises UserError."""
    if array.dtype.kind not in "iu" or array.ndim != axes or (array < 0).any():
        raise UserError(f"{place}: {name} are {array.dtype} {array.shape}; give whole numbers from 0.")
    return array.astype(np.int64)
