"""Features of pictures without a network: gradients by orientation, and colours."""

import numpy as np

CELLS, ORIENTATIONS, COLOURS = 8, 8, 4


def handmade(batch: np.ndarray) -> np.ndarray:
    """uint8 [b, h, w, 3] with h and w multiples of 8 -> float32 [b, 608]. Far weaker than a trained network's.

    512 values are histograms of gradient orientations (Dalal and Triggs 2005), signs ignored, in 8 x 8 cells of 8
    orientations, by nearest bin; each cell is divided by the root of the mean energy of itself and its neighbours.
    96 are mean and standard deviation of the three colours in 4 x 4 cells.
    """
    images = np.asarray(batch, np.float32) / 255
    b, h, w, _ = images.shape
    if h % CELLS or w % CELLS:
        raise ValueError(f"sides of {h} x {w} pictures are no multiples of {CELLS}")
    grey = images @ np.array([0.299, 0.587, 0.114], np.float32)
    dy, dx = np.gradient(grey, axis=(1, 2))
    size = np.hypot(dx, dy)
    bins = (np.arctan2(dy, dx) / np.pi * ORIENTATIONS).round().astype(np.int64) % ORIENTATIONS
    votes = size[..., None] * (bins[..., None] == np.arange(ORIENTATIONS))
    cells = votes.reshape(b, CELLS, h // CELLS, CELLS, w // CELLS, ORIENTATIONS).mean((2, 4))
    energy = np.pad((cells**2).sum(-1), ((0, 0), (1, 1), (1, 1)), mode="edge")
    around = sum(energy[:, y : y + CELLS, x : x + CELLS] for y in range(3) for x in range(3)) / 9
    cells = np.sqrt(cells / (np.sqrt(around)[..., None] + 1e-3))  # the root tames a few strong edges
    patches = images.reshape(b, COLOURS, h // COLOURS, COLOURS, w // COLOURS, 3)
    colours = [patches.mean((2, 4)), patches.std((2, 4))]
    return np.concatenate([x.reshape(b, -1) for x in (cells, *colours)], axis=1).astype(np.float32)
