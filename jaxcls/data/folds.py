"""The rows of a set dealt into k folds: each once, groups whole, every class about evenly. One fold is held out.

A fold of a set with a test split of its own is the validation split of its run, and all of them have that test; of a
set without one the fold is the test split, and what chooses a checkpoint is held out of the rest.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxcls.data import groups, splits
from jaxcls.data.base import Source, multilabel
from jaxcls.data.dealing import ALL, Placed, Rule
from jaxcls.data.views import joined
from jaxcls.errors import UserError


class Fold(NamedTuple):
    """Fold `number`, from 1, of `total`."""

    number: int
    total: int


def parse(text: str) -> Fold:
    """config.data.fold, as "2/5". Raises UserError for anything else."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
    fold = Fold(int(match[1]), int(match[2])) if match else Fold(0, 0)
    if not 1 <= fold.number <= fold.total or fold.total < 2:
        raise UserError(f"config.data.fold={text[:80]!r} must be the number of a fold of two or more, as '2/5'.")
    return fold


def pooled(bases: Mapping[str, Source]) -> dict[str, Source]:
    """The set with its own validation split in train, where folds take its place: where it has a test split, too."""
    if not {"train", "validation", "test"} <= bases.keys():
        return dict(bases)
    return {"train": joined([bases["train"], bases["validation"]]), "test": bases["test"]}


def deal(bases: Mapping[str, Source], rule: Rule, fold: Fold) -> Placed:
    """The splits of a fold's run.

    Args:
      bases: of `pooled`.
      rule: its seed and groups are those of the folds; its share of validation is held out of what trains.

    Raises:
      UserError: for a set without labels, or with fewer groups or pictures than folds.
    """
    key = ALL if ALL in bases else "train"
    if key not in bases or not bases[key].classes:
        raise UserError(f"config.data.fold={fold.number}/{fold.total} deals pictures with labels, and there are none.")
    source = bases[key]
    found = parts(np.asarray(source.labels), _groups(source, rule), fold.total, rule.seed)
    held_out = found[fold.number - 1]
    rest = np.sort(np.concatenate([part for i, part in enumerate(found) if i != fold.number - 1]))
    own = {name: (name, np.arange(len(base))) for name, base in bases.items() if name != key}
    if "test" in own:
        return {"train": (key, rest), "validation": (key, held_out), **own}
    placed: Placed = {"train": (key, rest), "test": (key, held_out), **own}
    if rule.validation is not None and "validation" not in own:
        kept, chooses = rule.parts(source, rest, (1 - rule.validation, rule.validation))
        placed |= {"train": (key, kept), "validation": (key, chooses)}
    return placed


def _groups(source, rule):
    parts = getattr(source, "sources", None)
    if parts is None or rule.group_by:
        return groups.numbers_of(source, rule.group_by)
    names = [groups.names_of(part) for part in parts]  # two splits of a set that were joined
    if any(name is None for name in names):
        return None
    flat = np.array([name for part in names for name in part], dtype=str)
    return np.unique(flat, return_inverse=True)[1].astype(np.int64)


def parts(labels: np.ndarray, group: np.ndarray | None, count: int, seed: int) -> list[np.ndarray]:
    """The rows of each fold, sorted.

    Of single pictures with one label each, sizes differ by at most one, and the pictures of a class, too. Sets of
    labels, and groups, are dealt by `splits.iterative`.

    Args:
      labels: integers [n], or sets [n, classes].
      group: integers [n], equal for rows that stay together; None: each is for itself.
      count: of folds; seed: a whole number.

    Raises:
      UserError: for fewer groups, or pictures, than folds, or groups so large that a fold stays empty.
    """
    units, what = (len(labels), "pictures") if group is None else (len(np.unique(group)), "groups of pictures")
    if units < count:
        raise UserError(f"there are {units} {what} for {count} folds; give at most {units} folds.")
    if labels.ndim == 1 and group is None:
        generator = np.random.Generator(np.random.Philox(key=np.array([seed, count], np.uint64)))
        order = generator.permutation(len(labels))
        order = order[np.argsort(labels[order], kind="stable")]
        return [np.sort(order[i::count]) for i in range(count)]
    sets = labels if labels.ndim == 2 else (labels[:, None] == np.unique(labels)).astype(np.uint8)
    found = splits.iterative(sets, [1.0] * count, seed, group)
    if empty := sum(not len(part) for part in found):
        raise UserError(f"{empty} of {count} folds would be empty, so large are some groups; give fewer folds.")
    return found


def lines(source: Source, count: int) -> list[str]:
    """A line about classes with fewer pictures than folds, which some folds do not have; [] where there are none."""
    labels = np.asarray(source.labels)
    classes = len(source.classes)
    sizes = labels.sum(axis=0) if multilabel(source) else np.bincount(labels[labels >= 0], minlength=classes)
    rare = [str(name) for name, size in zip(source.classes, sizes, strict=True) if 0 < size < count]
    if not rare:
        return []
    more = f" and {len(rare) - 1} more" if len(rare) > 1 else ""
    return [f"note: {rare[0]!r}{more} of {len(sizes)} classes has fewer pictures than there are folds ({count})"]
