"""Drawn graphs and weights: those of the references in fixtures/graph_layers.npz, and their padded batch."""

import zlib

import numpy as np

FEATURES, WIDTH, HEADS = 5, 12, 3
SIZES = (7, 4, 1)  # nodes


def graphs():
    """Pairs of nodes float32 [n, FEATURES] and directed weighted edges float32 [n, n], some into their own node."""
    rng = np.random.default_rng(3)
    return [
        (
            rng.normal(size=(n, FEATURES)).astype(np.float32),
            (rng.uniform(0.2, 2, (n, n)) * (rng.random((n, n)) < 0.4)).astype(np.float32),
        )
        for n in SIZES
    ]


def weights(*names_and_shape):
    """Values of a parameter, by its names: float64."""
    *names, shape = names_and_shape
    rng = np.random.default_rng([zlib.crc32(name.encode()) for name in names])
    return rng.normal(size=tuple(shape)) / 2


def batch(given, size):
    """Graphs as one batch, padded to `size` nodes with numbers that nobody may look at: nodes, edges, node_mask."""
    rng = np.random.default_rng(4)
    nodes = rng.normal(size=(len(given), size, given[0][0].shape[1])).astype(np.float32)
    edges = rng.random((len(given), size, size)).astype(np.float32)
    mask = np.zeros((len(given), size), np.float32)
    for i, (x, a) in enumerate(given):
        n = len(x)
        nodes[i, :n], edges[i, :n, :n], mask[i, :n] = x, a, 1
    return {"nodes": nodes, "edges": edges, "node_mask": mask}
