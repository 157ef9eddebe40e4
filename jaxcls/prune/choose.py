"""Which units stay."""

import math
import re
from collections.abc import Sequence

import numpy as np

from jaxcls.errors import UserError, did_you_mean
from jaxcls.prune.groups import Group
from jaxcls.pytree import require_matches

SCOPES = ("local", "global")


def choose(
    groups: Sequence[Group],
    scores: Sequence[np.ndarray],
    ratio: float,
    *,
    scope: str = "local",
    floor: float = 0.0,
    multiple: int = 1,
    keep: Sequence[str] = (),
    sizes: Sequence[int] | None = None,
) -> list[np.ndarray]:
    """Per group the units that stay, ascending. Of equal scores the first go.

    Args:
      groups: those that may be pruned, and others: these stay whole.
      scores: per group `[units]`, of `importance`; for "global" they must be comparable (`importance.relative`).
      ratio: the share of units that go, rounded down: of each group ("local"), or of all groups that are not kept,
        the lowest scores of all ("global").
      scope: one of SCOPES.
      floor: the least share that a group keeps; where "global" can't take a group's lowest, it takes another's.
      multiple: what a layer's size is rounded up to (8 suits accelerators and INT8); a unit of several places, as a
        head is, counts as many. A group that would need more than it has stays whole.
      sizes: of the groups when the first of several rounds began, of which ratio and floor count; None: those of now.
      keep: regular expressions (`re.search`) of names; the groups that these layers make stay whole. What the layers
        read may go, as far as others make it.

    Raises:
      UserError: for settings out of range, a pattern that fits no layer (with the nearest), and where a group would be
        empty.
    """
    _check(ratio, scope, floor, multiple)
    require_matches({m.name: 0 for group in groups for m in group.members}, keep, "layer to keep")
    whole = [bool(group.why) or any(re.search(p, n) for p in keep for n in _made(group)) for group in groups]
    now = [group.units for group in groups]
    sizes = now if sizes is None else sizes
    floors = [min(n, math.ceil(floor * size)) for n, size in zip(now, sizes, strict=True)]
    least = [n if w else low for n, w, low in zip(now, whole, floors, strict=True)]
    if scope == "local":
        wanted = [size - int(size * ratio) for size in sizes]
        counts = [max(low, min(n, some)) for n, low, some in zip(now, least, wanted, strict=True)]
    else:
        size = sum(size for size, w in zip(sizes, whole, strict=True) if not w)
        gone = size - sum(n for n, w in zip(now, whole, strict=True) if not w)
        counts = _global(scores, int(ratio * size) - gone, least)
    kept = []
    for group, score, count in zip(groups, scores, counts, strict=True):
        if not count:
            raise UserError(
                f"ratio {ratio:g} leaves none of the {group.units} units of {group.name}; lower it, give a floor, or "
                "keep that layer"
            )
        kept.append(np.sort(np.argsort(score, kind="stable")[group.units - _rounded(group, count, multiple) :]))
    return kept


def _check(ratio, scope, floor, multiple):
    if not 0 <= ratio < 1:
        raise UserError(f"ratio must be at least 0 and below 1, not {ratio:g}: it is the share of units that go")
    if not 0 <= floor <= 1:
        raise UserError(f"floor must be between 0 and 1, not {floor:g}: it is the share of units that a group keeps")
    if multiple < 1 or multiple != int(multiple):
        raise UserError(f"multiple must be a whole number of at least 1, not {multiple:g}")
    if scope not in SCOPES:
        raise UserError(f"scope must be one of {', '.join(SCOPES)}, not {scope!r}{did_you_mean(scope, SCOPES)}")


def _made(group):
    return [member.name for member in group.members if not member.consumes]


def _global(scores, left, least):
    """How many units of each group stay, if the `left` lowest of all go as far as the floors allow."""
    counts = [len(score) for score in scores]
    at = np.concatenate([np.full(n, i) for i, n in enumerate(counts)] or [np.zeros(0, int)])
    order = np.argsort(np.concatenate([*scores, np.zeros(0)]), kind="stable")
    for group in at[order].tolist():
        if left > 0 and counts[group] > least[group]:
            counts[group] -= 1
            left -= 1
    return counts


def _rounded(group, count, multiple):
    """The count of units with which the layers' sizes are multiples, at most all."""
    width = max((member.places.shape[1] for member in group.members if not member.consumes), default=1)
    step = multiple // math.gcd(multiple, width)
    return min(group.units, -(-count // step) * step)
