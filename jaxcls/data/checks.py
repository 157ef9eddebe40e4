"""What must hold of labels and pictures before anything is made of them."""

from collections.abc import Mapping

import numpy as np

from jaxcls.data import unreadable
from jaxcls.data.base import Source
from jaxcls.errors import UserError

SHOWN = 5  # unreadable pictures, or classes, named in a message


def labels(sources: Mapping[str, Source]) -> None:
    """Labels are class numbers, and every class has training examples.

    Raises:
      UserError: where that is not so.
    """
    for split, source in sources.items():
        given, n = np.asarray(source.labels), len(source.classes)
        if len(source) == 0:
            raise UserError(f"the {split} split is empty; add pictures to it, or leave it out.")
        if given.min() < 0 or given.max() >= n:
            bad = given[(given < 0) | (given >= n)]
            raise UserError(
                f"{len(bad)} picture(s) of the {split} split have labels such as {bad[0]}, but there are {n} classes "
                f"(0 to {n - 1}); prepare the set again."
            )
    source = sources["train"]
    counts = np.bincount(source.labels, minlength=len(source.classes))
    empty = [str(source.classes[i]) for i in np.flatnonzero(counts == 0)]
    if empty:
        more = f" and {len(empty) - SHOWN} more classes" if len(empty) > SHOWN else ""
        raise UserError(f"no training examples of {', '.join(empty[:SHOWN])}{more}; add pictures, or remove the class.")


def pictures(source: Source, what: str) -> None:
    """Every picture of a folder has a readable header and is not cut off.

    Raises:
      UserError: naming the first bad ones.
    """
    bad = unreadable.check(source).problems
    if bad:
        shown = "; ".join(f"{name}: {problem}" for name, problem in bad[:SHOWN])
        more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        count = "1 picture" if len(bad) == 1 else f"{len(bad)} pictures"
        raise UserError(f"{count} in {what} can't be used: {shown}{more}")
