"""Which rows of a set make up which split: by its own folders, or dealt by a rule."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from jaxcls.data import groups, metadata, splits
from jaxcls.data.base import Source, multilabel, subset
from jaxcls.data.views import renumbered
from jaxcls.errors import UserError

ALL = "all"  # the key of a set that has no splits of its own
NAMES = ("train", "validation", "test")
Placed = dict[str, tuple[str, np.ndarray]]  # split -> (key of a source, rows of it)


@dataclasses.dataclass(frozen=True)
class Rule:
    """How sets are dealt.

    Attributes:
      validation: share of train (between 0 and 1) that is held out where there is no validation split; None: none.
      ratios: shares of train, validation and test of a set without splits.
      seed: a whole number.
      group_by: which pictures stay together (data.groups); "": by the groups of the source, else each is for itself.
    """

    validation: float | None = None
    ratios: Sequence[float] = (0.7, 0.15, 0.15)
    seed: int = 0
    group_by: str = ""

    def __post_init__(self):
        if self.validation is not None and not 0 < self.validation < 1:
            raise UserError(f"validation={self.validation} must be None or a share between 0 and 1, e.g. 0.1")

    def shares(self) -> Sequence[float]:
        """The ratios. Raises UserError where they are none."""
        if len(self.ratios) != 3:
            raise UserError(
                f"split_ratios={tuple(self.ratios)} must be three shares: train, validation, test (0: none)"
            )
        if not self.ratios[0] > 0:
            raise UserError(f"split_ratios={tuple(self.ratios)}: the share of train must be above 0")
        return self.ratios

    def parts(self, source: Source, rows: np.ndarray, ratios: Sequence[float]) -> list[np.ndarray]:
        """Some rows of a source dealt into one part for each ratio; groups stay whole."""
        labels, number = np.asarray(source.labels)[rows], self._groups(source, rows)
        if multilabel(source):
            parts = splits.iterative(labels, ratios, self.seed, number)
        elif number is None:
            parts = splits.stratified(labels, ratios, self.seed)
        else:
            parts = splits.grouped(labels, number, ratios, self.seed)
        return [rows[part] for part in parts]

    def _groups(self, source: Source, rows: np.ndarray) -> np.ndarray | None:
        """The groups of some rows by number; None where there are none. Only these rows must have one."""
        if self.group_by:
            names = metadata.ids(source)
            return groups.of_ids([names[row] for row in rows], self.group_by, metadata.root(source))
        number = groups.numbers_of(source)
        return None if number is None else number[rows]


def deal(bases: Mapping[str, Source], rule: Rule) -> Placed:
    """The splits of a set that is opened for the first time. Of a set without classes nothing is held out.

    Args:
      bases: {"all": source} without splits of its own, else those.
      rule: for what is dealt.

    Raises:
      UserError: for shares that can't be, or pictures without a group.
    """
    if ALL in bases:
        parts = rule.parts(bases[ALL], np.arange(len(bases[ALL])), shares := rule.shares())
        placed = {name: (ALL, part) for name, part, share in zip(NAMES, parts, shares, strict=True) if share > 0}
    else:
        placed = {key: (key, np.arange(len(base))) for key, base in bases.items()}
    labelled = all(base.classes for base in bases.values())
    if rule.validation is not None and labelled and "train" in placed and "validation" not in placed:
        key, rows = placed["train"]
        kept, held_out = rule.parts(bases[key], rows, (1 - rule.validation, rule.validation))
        placed |= {"train": (key, kept), "validation": (key, held_out)}
    return placed


def deal_new(placed: Placed, new: Mapping[str, np.ndarray], bases: Mapping[str, Source], rule: Rule) -> Placed:
    """The splits of a run with new pictures in them: what was in a split stays there.

    A new picture of a group that the run has goes where its group is; the others are dealt by the rule, among
    themselves. Where a set has splits of its own, a new picture stays in the one it lies in.

    Args:
      placed: split -> (key, rows) of the pictures that the run has.
      new: key -> rows of the others.
      bases: key -> source.
      rule: the run's.
    """
    placed = dict(placed)
    for key, rows in new.items():
        targets = [split for split in NAMES if split in placed and placed[split][0] == key]
        shares = dict(zip(NAMES, rule.shares(), strict=True)) if key == ALL else {"train": 1.0}
        if rule.validation is not None and "validation" in targets and not shares.get("validation"):
            shares |= {"train": shares["train"] * (1 - rule.validation), "validation": rule.validation}
        if len(targets) < 2:
            dealt = {split: rows for split in targets or [key]}
        else:
            joined, free = _joined(placed, targets, rows, bases[key], rule)
            parts = rule.parts(bases[key], free, [shares.get(split, 0.0) for split in targets])
            dealt = {s: np.concatenate([joined[s], part]) for s, part in zip(targets, parts, strict=True)}
        for split, more in dealt.items():
            if len(more):
                before = placed[split][1] if split in placed else np.empty(0, np.int64)
                placed[split] = (key, np.concatenate([before, more]))
    return placed


def _joined(placed, targets, rows, source, rule):
    """(split -> new rows whose group is in it, new rows of new groups)."""
    number = groups.numbers_of(source, rule.group_by)
    if number is None:
        return {split: rows[:0] for split in targets}, rows
    inside = {split: np.isin(number[rows], number[placed[split][1]]) for split in targets}
    return {split: rows[mask] for split, mask in inside.items()}, rows[~np.any(list(inside.values()), axis=0)]


def sources(placed: Placed, bases: Mapping[str, Source], classes: Sequence[str] | None = None) -> dict[str, Source]:
    """split -> source of its rows, with labels that count in `classes` (by default those of the set)."""
    if classes is not None:
        bases = {key: renumbered(base, classes) for key, base in bases.items()}
    result = {}
    for split in NAMES:
        if split in placed:
            key, rows = placed[split]
            whole = key != ALL and len(rows) == len(bases[key]) and bool((rows == np.arange(len(rows))).all())
            result[split] = bases[key] if whole else subset(bases[key], rows)
    return result
