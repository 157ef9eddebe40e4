"""Stratified and reproducible splits."""

from collections.abc import Sequence

import numpy as np

from jaxcls.errors import UserError


def stratified(labels: np.ndarray, ratios: Sequence[float], seed: int) -> list[np.ndarray]:
    """Divides the rows of a set so that every part has the class proportions of the whole.

    Each class is shuffled by Philox(seed, class) and cut by the method of largest remainders, so a class's share of a
    part differs from `ratio * size` by less than one picture. One rule goes before that: a class with at least as many
    examples as there are parts is in every part (of ratio above 0). The result depends on nothing but the arguments.

    Args:
      labels: integers [n], not negative.
      ratios: one number per part, in any unit: (0.7, 0.15, 0.15) and (70, 15, 15) are the same.
      seed: an integer that is not negative.

    Returns:
      One sorted int64 array of row numbers per part. Every row is in exactly one part.

    Raises:
      UserError: for ratios that cannot be shares.
    """
    shares = np.asarray(ratios, np.float64)
    if shares.ndim != 1 or not np.all(np.isfinite(shares)) or np.any(shares < 0) or not shares.sum() > 0:
        raise UserError(f"split ratios {tuple(ratios)} must be finite, not negative and not all 0")
    shares = shares / shares.sum()
    labels = np.asarray(labels)
    parts: list[list[np.ndarray]] = [[] for _ in shares]
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        np.random.Generator(np.random.Philox(key=np.array([seed, label], np.uint64))).shuffle(rows)
        ends = np.cumsum(_sizes(len(rows), shares))
        for part, piece in zip(parts, np.split(rows, ends[:-1]), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate([np.empty(0, np.int64), *part])) for part in parts]


def _sizes(n: int, shares: np.ndarray) -> np.ndarray:
    """How many of n examples each part gets: largest remainders, then none empty that could have one."""
    quotas = n * shares
    sizes = np.floor(quotas + 1e-9).astype(np.int64)  # 0.1 + 0.2 style noise must not lose a whole picture
    order = np.argsort(sizes - quotas, kind="stable")  # largest remainder first, earlier part on a tie
    sizes[order[: n - sizes.sum()]] += 1
    wanted = shares > 0
    if n >= len(shares):
        for part in np.flatnonzero(wanted & (sizes == 0)):
            sizes[np.argmax(sizes)] -= 1
            sizes[part] += 1
    return sizes
