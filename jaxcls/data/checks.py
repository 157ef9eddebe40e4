"""What must hold of labels and pictures before anything is made of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxcls.data import balance, few, unreadable
from jaxcls.data.base import Source
from jaxcls.data.stored_splits import BANK
from jaxcls.errors import UserError
from jaxcls.text import printable
from jaxcls.types import Note

SHOWN = 5  # unreadable pictures, or classes, named in a message


def labels(sources: Mapping[str, Source]) -> None:
    """Labels are class numbers, and every class has training examples. Sources without classes need none, and pictures
    whose labels are hidden (data.few) have none.

    Raises:
      UserError: where that is not so.
    """
    for split, source in sources.items():
        if len(source) == 0:
            raise UserError(f"the {split} split is empty; add pictures to it, or leave it out.")
        if not source.classes:
            continue
        given, n = few.given(source), len(source.classes)
        if given.ndim == 2 and given.shape[1] != n:
            raise UserError(f"the sets of labels of the {split} split have {given.shape[1]} entries for {n} classes.")
        if given.ndim == 2:
            continue  # of 0 and 1, as bytes
        if given.min() < 0 or given.max() >= n:
            bad = given[(given < 0) | (given >= n)]
            raise UserError(
                f"{len(bad)} picture(s) of the {split} split have labels such as {bad[0]}, but there are {n} classes "
                f"(0 to {n - 1}); prepare the set again."
            )
    learnt = [sources[split] for split in ("train", BANK) if split in sources and sources[split].classes]
    if not learnt:
        return
    source = learnt[0]
    counts = balance.counted(few.given(source), len(source.classes))
    empty = [str(source.classes[i]) for i in np.flatnonzero(counts == 0)]
    if empty:
        more = f" and {len(empty) - SHOWN} more classes" if len(empty) > SHOWN else ""
        raise UserError(f"no training examples of {', '.join(empty[:SHOWN])}{more}; add pictures, or remove the class.")


def pictures(source: Source, what: str, note: Note, *, skip: bool = False, **how: Any) -> None:
    """Every picture of a folder can be read, as far as there is time to look.

    Args:
      source: from `sources.load`.
      what: how messages call it.
      note: where lines go: how many were only looked at, what is probably not as it is meant, what will be skipped.
      skip: whether bad pictures are skipped.
      how: `seconds`, `full`, `progress`, `channels`, `window` of unreadable.check.

    Raises:
      UserError: naming the first bad ones; with `skip` only where all are.
    """
    found = unreadable.check(source, **how)
    if found.looked_at:
        note(
            f"{found.looked_at:,} of {len(source):,} pictures in {what} were looked at by their first and last bytes, "
            "not decoded; jaxcls check --full decodes all"
        )
    for line in found.notes:
        note(f"note: {what}: {line}")
    if bad := found.problems:
        shown = "; ".join(f"{printable(name)}: {problem}" for name, problem in bad[:SHOWN])
        more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        count = "1 picture" if len(bad) == 1 else f"{len(bad)} pictures"
        if not skip or len(bad) == len(source):
            raise UserError(f"{count} in {what} can't be used: {shown}{more}")
        note(f"{count} in {what} will be skipped: {shown}{more}")
