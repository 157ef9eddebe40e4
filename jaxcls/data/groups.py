"""Pictures that belong together, so that no split tears them apart: of one patient, one object, one series."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls.data import metadata
from jaxcls.data.base import Source, Subset
from jaxcls.errors import UserError

COLUMNS = (metadata.PATH, metadata.GROUP)


def of_ids(ids: Sequence[str], group_by: str, root: str | Path = ".") -> np.ndarray:
    """A number for each picture, equal where they belong together: int64 [n]. See `names_of_ids`."""
    return np.unique(np.array(names_of_ids(ids, group_by, root), dtype=str), return_inverse=True)[1].astype(np.int64)


def names_of_ids(ids: Sequence[str], group_by: str, root: str | Path = ".") -> list[str]:
    """What the group of each picture is called.

    Args:
      ids: of the pictures; in a folder their paths below it.
      group_by: a CSV file (its name ends so) with columns `path` and `group`, as `jaxcls clean` writes it, or
        a regular expression that is found in every id: its first group names the group, without one all that is found.
      root: where a relative file starts, if it is not found from here.

    Raises:
      UserError: where a picture has no group, or the file or the expression cannot be used.
    """
    what = f"config.data.group_by={group_by!r}"
    if group_by.lower().endswith(".csv"):
        _, lines = metadata.read(group_by, root, "config.data.group_by", COLUMNS, set(ids))
        names: list[str | None] = [lines.get(name, {}).get(metadata.GROUP) for name in ids]
        lack = "has no line for"
    else:
        try:
            pattern = re.compile(group_by)
        except re.error as error:
            raise UserError(f"{what} is no regular expression ({error}), nor the name of a .csv file.") from None
        matches = [pattern.search(name) for name in ids]
        names = [match[1 if pattern.groups else 0] if match else None for match in matches]
        lack = "is not found in"
    missing = [name for name, group in zip(ids, names, strict=True) if group is None]
    if missing:
        more = f" and {len(missing) - 1:,} other" if len(missing) > 1 else ","
        raise UserError(f"{what} {lack} {missing[0]!r}{more} of {len(ids):,} pictures.")
    return [group for group in names if group is not None]


def names_of(source: Source, group_by: str = "") -> list[str] | None:
    """The name of the group of each row of a source: by `group_by`, else by its own groups (those of a table), None
    where there are neither. Raises UserError as `names_of_ids`."""
    return names_of_ids(metadata.ids(source), group_by, metadata.root(source)) if group_by else _own(source)


def numbers_of(source: Source, group_by: str = "") -> np.ndarray | None:
    """`names_of` as int64 [n], equal where pictures belong together."""
    names = names_of(source, group_by)
    return None if names is None else np.unique(np.array(names, dtype=str), return_inverse=True)[1].astype(np.int64)


def _own(source: Any) -> list[str] | None:
    if isinstance(source, Subset):
        names = _own(source.source)
        return None if names is None else [names[row] for row in source.indices.tolist()]
    names = getattr(source, "groups", None)
    return None if names is None else list(names)


def write(path: Path, ids: Sequence[str], groups: Sequence[int]) -> None:
    """Writes the file that `of_ids` reads."""
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerows([COLUMNS, *zip(ids, groups, strict=True)])
