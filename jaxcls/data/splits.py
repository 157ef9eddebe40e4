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


def iterative(
    sets: np.ndarray, ratios: Sequence[float], seed: int, groups: np.ndarray | None = None
) -> list[np.ndarray]:
    """As `stratified`, for sets of labels: every part has about the proportions of every label, and its exact size.

    The rows of the label that the fewest undealt rows have are dealt first, each to the part that lacks this label
    most, of equal ones to the one that lacks most rows; then those of the next label. Rows without a label count as one
    label more. Source: Sechidis, Tsoumakas and Vlahavas, On the Stratification of Multi-Label Data, algorithm 1, with
    two changes: a part that is full gets nothing more, and a label with at least as many rows as there are parts is
    wanted once by every part. The result depends on nothing but the arguments.

    Args:
      sets: 0 and 1 [n, classes].
      ratios, seed: as of `stratified`, also what is returned and raised.
      groups: integers [n], equal for rows that stay together. They are dealt as wholes, the large ones first, so sizes
        are as exact as the groups allow.
    """
    shares, sets = _shares(ratios), np.asarray(sets)
    items = np.concatenate([sets, ~sets.any(axis=1, keepdims=True)], axis=1).astype(np.uint8)
    number = np.arange(len(sets)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    sizes = np.bincount(number)
    if groups is not None:
        order = np.argsort(number, kind="stable")
        starts = np.cumsum(sizes) - sizes
        items = np.add.reduceat(items[order], starts, axis=0, dtype=np.int32) if len(items) else items
    place = _places(items, sizes, shares, seed)[number]
    return [np.flatnonzero(place == part) for part in range(len(shares))]


def _places(items: np.ndarray, sizes: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """The part of each item, int64 [m]. `items`: its rows that have each label [m, labels]; `sizes`: all its rows."""
    left = items.sum(axis=0, dtype=np.int64)
    lack = _sizes(int(sizes.sum()), shares).astype(float).tolist()
    wanted = np.array([_wanted(n, shares) for n in left.tolist()]).reshape(-1, len(shares)).T.copy()
    place = np.full(len(items), -1, np.int64)
    while left.any():
        label = int(np.argmin(np.where(left > 0, left, left.max() + 1)))
        own = np.flatnonzero((items[:, label] > 0) & (place < 0))
        _generator(seed, label).shuffle(own)
        own = own[np.argsort(-sizes[own], kind="stable")]
        for item, size in zip(own.tolist(), sizes[own].tolist(), strict=True):
            column = wanted[:, label].tolist()
            part = max((p for p, room in enumerate(lack) if room > 0), key=lambda p: (column[p], lack[p]))
            place[item] = part
            wanted[part] -= items[item]
            lack[part] -= size
        left -= items[own].sum(axis=0, dtype=np.int64)
    return place


def _wanted(n: int, shares: np.ndarray) -> np.ndarray:
    """How many of a label's n rows each part should have: its share, or whole rows where that is less than one."""
    quotas = n * shares
    return _sizes(n, shares).astype(float) if n >= len(shares) and (quotas[shares > 0] < 1).any() else quotas


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
