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
    shares, labels = _shares(ratios), np.asarray(labels)
    parts: list[list[np.ndarray]] = [[] for _ in shares]
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        _generator(seed, label).shuffle(rows)
        ends = np.cumsum(_sizes(len(rows), shares))
        for part, piece in zip(parts, np.split(rows, ends[:-1]), strict=True):
            part.append(piece)
    return _sorted(parts)


def grouped(labels: np.ndarray, groups: np.ndarray, ratios: Sequence[float], seed: int) -> list[np.ndarray]:
    """As `stratified`, but no group is torn apart: all of its rows are in one part.

    A group counts for its rarest class. The groups of each class are shuffled and dealt, the large ones first, each to
    the part that lacks most of its share. A class with at least as many groups as there are parts is in every part. The
    proportions are as good as the sizes of the groups allow.

    Args:
      labels: integers [n], not negative.
      groups: integers [n], equal for rows that stay together.
      ratios, seed: as of `stratified`, also what is returned and raised.
    """
    shares, labels = _shares(ratios), np.asarray(labels)
    number, inverse = np.unique(np.asarray(groups), return_inverse=True)
    frequency = np.bincount(labels) if len(labels) else np.zeros(1, np.int64)
    order = np.lexsort((labels, frequency[labels], inverse))  # each group begins with a row of its rarest class
    rows_of = np.split(order, np.searchsorted(inverse[order], np.arange(1, len(number))))
    classes = np.array([labels[rows[0]] for rows in rows_of]) if len(labels) else np.empty(0, np.int64)
    parts: list[list[np.ndarray]] = [[] for _ in shares]
    for label in np.unique(classes):
        shuffled = np.flatnonzero(classes == label)
        _generator(seed, label).shuffle(shuffled)
        own = sorted((rows_of[group] for group in shuffled), key=len, reverse=True)
        for part, dealt in zip(parts, _dealt(list(map(len, own)), shares), strict=True):
            part += [own[i] for i in dealt]
    return _sorted(parts)


def _dealt(sizes: Sequence[int], shares: np.ndarray) -> list[list[int]]:
    """For each part the positions of its groups, of groups from large to small."""
    lack = sum(sizes) * shares
    dealt: list[list[int]] = [[] for _ in shares]
    for i, size in enumerate(sizes):
        part = int(np.argmax(np.where(shares > 0, lack, -np.inf)))
        dealt[part].append(i)
        lack[part] -= size
    if len(sizes) >= len(shares):
        for empty in [part for part in np.flatnonzero(shares > 0) if not dealt[part]]:
            dealt[empty].append(dealt[int(np.argmax([len(x) for x in dealt]))].pop())
    return dealt


def _shares(ratios: Sequence[float]) -> np.ndarray:
    shares = np.asarray(ratios, np.float64)
    if shares.ndim != 1 or not np.all(np.isfinite(shares)) or np.any(shares < 0) or not shares.sum() > 0:
        raise UserError(f"split ratios {tuple(ratios)} must be finite, not negative and not all 0")
    return shares / shares.sum()


def _generator(seed: int, label: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, label], np.uint64)))


def _sorted(parts: list[list[np.ndarray]]) -> list[np.ndarray]:
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
