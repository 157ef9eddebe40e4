"""Copies of pictures: identical ones, and those that were re-encoded, resized, mirrored or slightly changed.

The perceptual hash is that of Zauner 2010 (Implementation and benchmarking of perceptual image hash functions, 3.2.1):
a picture of 32 x 32 grey pixels, its discrete cosine transform, and a bit for each low frequency that is above the
median. Here the frequencies are the 64 lowest by u + v without the mean, where Zauner takes a square of 8 x 8. Hashes
that differ in few bits are found through tables (Norouzi et al. 2012, Fast search in Hamming space with multi-index
hashing), not by comparing all with all. A hash alone mistakes some pictures for others, so every pair it finds has to
correlate in its grey copies, too.
"""

from typing import NamedTuple

import numpy as np

from jaxcls.data.cleaning.survey import GREY, Survey

# Measured on photographs and pictures of tiles: re-encoding at quality 30 or halving changes 6 bits of 64 at most in
# 95 %, a third of the size by nearest neighbour or 2 % cut off all round 12. Correlations of copies by re-encoding and
# halving are above 0.98, of different photographs below 0.8; in between are pictures of a series, and at 0.9 different
# objects in the same pose on the same ground.
RADIUS = 10
LEAST = 0.95
BANDS, BITS = 4, 16  # a hash is cut into bands, each with a table of 2**BITS entries
_CANDIDATES = 2**21  # pairs looked at in one go


class Link(NamedTuple):
    """A pair of copies, row `a` < row `b`. score: correlation, 1 where all pixels are the same."""

    a: int
    b: int
    score: float
    mirrored: bool
    how: str  # "same file", "same pixels", "similar"


def find(survey: Survey, radius: int = RADIUS, least: float = LEAST) -> list[Link]:
    """All pairs of copies. Of m identical pictures the first is linked to each of the others, not all to all, and
    stands for them in links to similar ones; `centred` puts another one in its place.
    """
    links: list[Link] = []
    first: dict[bytes, int] = {}
    for row in survey.readable.tolist():
        other = first.setdefault(survey.pixels[row].tobytes(), row)
        if other != row:
            links.append(identical(survey, other, row))
    rows = np.array(list(first.values()), np.int64)
    for a, b, score, mirrored in similar(survey.greys[rows], radius, least):
        links.append(Link(int(rows[a]), int(rows[b]), score, mirrored, "similar"))
    return sorted(links)


def identical(survey: Survey, a: int, b: int) -> Link:
    """The link of two pictures with the same pixels."""
    same = np.array_equal(survey.files[a], survey.files[b])
    return Link(min(a, b), max(a, b), 1.0, False, "same file" if same else "same pixels")


def centred(survey: Survey, links: list[Link], prefer: dict[int, tuple]) -> list[Link]:
    """The same links with the most preferred of identical pictures (the largest `prefer`) in the place of the first."""
    members: dict[int, list[int]] = {}
    for link in links:
        if link.how != "similar":
            members.setdefault(link.a, [link.a]).append(link.b)
    best = {first: max(rows, key=lambda row: prefer[row]) for first, rows in members.items()}
    moved = [
        identical(survey, best[first], row) for first, rows in members.items() for row in rows if row != best[first]
    ]
    for link in links:
        if link.how == "similar":
            a, b = sorted((best.get(link.a, link.a), best.get(link.b, link.b)))
            moved.append(link._replace(a=a, b=b))
    return sorted(moved)


def similar(greys: np.ndarray, radius: int = RADIUS, least: float = LEAST) -> list[tuple[int, int, float, bool]]:
    """(a, b, correlation, mirrored) of pairs of small grey pictures [n, 32, 32], a < b, that look the same."""
    hashes, mirrors = perceptual_hashes(greys), perceptual_hashes(greys[:, :, ::-1])
    best: dict[tuple[int, int], tuple[float, bool]] = {}
    for mirrored, others in ((False, hashes), (True, mirrors)):
        a, b = near_pairs(hashes, others, radius)
        scores = correlations(greys, a, b, mirrored)
        for pair in np.flatnonzero(scores >= least):
            key, score = (int(a[pair]), int(b[pair])), float(scores[pair])
            if key not in best or score > best[key][0]:
                best[key] = score, mirrored
    return [(*key, *value) for key, value in sorted(best.items())]


def perceptual_hashes(greys: np.ndarray) -> np.ndarray:
    """uint64 [n] of grey pictures [n, 32, 32]: 32 bits are set in each (none in a picture of one grey)."""
    u, v = np.divmod(np.arange(GREY * GREY), GREY)
    lowest = np.lexsort((u, u + v))[1 : BANDS * BITS + 1]
    # Orders of a band are spread over the frequencies, or neighbours would fail together.
    lowest = lowest.reshape(BITS, BANDS).T.ravel()
    k, x = np.meshgrid(np.arange(GREY), np.arange(GREY), indexing="ij")
    basis = np.cos(np.pi * k * (2 * x + 1) / (2 * GREY)).astype(np.float32)
    hashes = np.empty(len(greys), np.uint64)
    weights = np.uint64(1) << np.arange(BANDS * BITS, dtype=np.uint64)
    for start in range(0, len(greys), 4096):
        part = greys[start : start + 4096].astype(np.float32)
        part -= part.mean((1, 2), keepdims=True)  # or rounding would decide the bits of a plain picture
        values = (basis @ part @ basis.T).reshape(len(part), -1)[:, lowest]
        bits = values > np.median(values, axis=1, keepdims=True)
        hashes[start : start + 4096] = (bits * weights).sum(axis=1, dtype=np.uint64)
    return hashes


def near_pairs(hashes: np.ndarray, others: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (a, b), a < b, where hashes[a] and others[b], or hashes[b] and others[a], differ in at most `radius` bits.

    Exact for a radius up to 11: of four bands, one differs in radius // 4 bits at most, and all such values of every
    band are looked up. The time grows with n times the length of the lists in the tables, about n / 65536.
    """
    n, found = len(hashes), [np.empty(0, np.int64)]
    flips = _flips(radius // BANDS)
    for band in range(BANDS):
        shift = np.uint64(band * BITS)
        keys, queries = ((x >> shift).astype(np.uint16) for x in (others, hashes))
        order = np.argsort(keys, kind="stable")
        starts = np.searchsorted(keys[order], np.arange(2**BITS + 1))
        for flip in flips:
            flipped = queries ^ flip
            for a, b in _listed(starts[flipped], starts[flipped.astype(np.int64) + 1], order):
                near = (np.bitwise_count(hashes[a] ^ others[b]) <= radius) & (a != b)
                a, b = a[near], b[near]
                found.append(np.unique(np.minimum(a, b) * n + np.maximum(a, b)))
    pairs = np.unique(np.concatenate(found))
    return pairs // max(n, 1), pairs % max(n, 1)


def _flips(most: int) -> np.ndarray:
    """All uint16 with at most `most` bits set."""
    every = np.arange(2**BITS, dtype=np.uint16)
    return every[np.bitwise_count(every) <= most]


def _listed(first: np.ndarray, last: np.ndarray, order: np.ndarray):
    """Yields (queries, entries): each query with every entry first .. last - 1 of its list, in portions."""
    ends = np.cumsum(last - first)
    start = 0
    while start < len(ends):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _CANDIDATES, "right")))
        counts = (last - first)[start:stop]
        queries = np.repeat(np.arange(start, stop), counts)
        places = np.arange(len(queries)) - np.repeat(np.cumsum(counts) - counts, counts)
        yield queries, order[np.repeat(first[start:stop], counts) + places]
        start = stop


def correlations(greys: np.ndarray, a: np.ndarray, b: np.ndarray, mirrored: bool) -> np.ndarray:
    """Pearson's, float32 [pairs], of pictures a with pictures b (which are mirrored first); 0 for one of one grey."""
    scores = np.empty(len(a), np.float32)
    for start in range(0, len(a), 4096):
        x, y = (greys[rows[start : start + 4096]].astype(np.float32) for rows in (a, b))
        y = y[:, :, ::-1] if mirrored else y
        x, y = (z - z.mean((1, 2), keepdims=True) for z in (x, y))
        norms = np.sqrt((x * x).sum((1, 2)) * (y * y).sum((1, 2)))
        scores[start : start + 4096] = (x * y).sum((1, 2)) / np.maximum(norms, 1e-6)
    return scores


def components(n: int, links: list[Link]) -> np.ndarray:
    """Groups of linked rows by union-find: int64 [n], the smallest row of each row's group."""
    parent = np.arange(n)

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for link in links:
        a, b = sorted((root(link.a), root(link.b)))
        parent[b] = a
    return np.array([root(row) for row in range(n)], np.int64)


def kept(group: list[int], links: list[Link], prefer: dict[int, tuple]) -> dict[int, Link]:
    """Which members of a group can go: row -> the link to a member that stays. All others stay.

    Members are looked at from the most preferred (the largest `prefer`) on; one that is linked to a member that stays
    goes. So a chain of similar pictures does not lose its ends: whatever goes has a direct copy that stays.
    """
    neighbours: dict[int, dict[int, Link]] = {row: {} for row in group}
    for link in links:
        neighbours[link.a][link.b] = neighbours[link.b][link.a] = link
    gone: dict[int, Link] = {}
    stay: set[int] = set()
    for row in sorted(group, key=lambda row: prefer[row], reverse=True):
        near = [link for other, link in neighbours[row].items() if other in stay]
        if near:
            gone[row] = max(near, key=lambda link: link.score)
        else:
            stay.add(row)
    return gone
