"""Pictures whose class is in their file names: dogs-vs-cats (`cat.123.jpg`), Oxford pets (`Abyssinian_1.jpg`).

    names/train?label=^(\\w+)\\.                          train/cat.123.jpg
    names/images?label=(.+)_\\d+\\.jpg$                   images/great_pyrenees_12.jpg
    names/all?label=/(\\w+)-\\d&split=^(\\w+)/             all/train/x/cat-1.jpg

A regular expression is searched in each path below the folder (with forward slashes). Its group called `label` is the
class, or its first one. `split` is such an expression, too, whose group is train, val or test, by names as those of
folders (`layout.split_of`); without it the set has no splits of its own. What is left out is as in `data.folder`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxcls.data import folder_checks, layout, listing, table_labels
from jaxcls.data.table_source import TableSource
from jaxcls.data.table_splits import ORDER, SPLITS
from jaxcls.errors import UserError
from jaxcls.text import printable


def scan(path: Path, options: Mapping[str, str], *, trains: bool = True) -> dict[str, TableSource]:
    """The pictures of a folder, {"all": ...} or by split.

    Args:
      path: the folder.
      options: `label` and, where there are splits, `split`.
      trains: whether a model is trained on it; to score one, one class is enough and there need be no train.

    Raises:
      UserError: for a folder without pictures, an expression that is none or has no group, pictures in which it is not
        found (all are counted), fewer than two classes, classes that are surely meant to be one, no train.
    """
    if "label" not in options:
        raise UserError(
            f"names/{printable(path)} needs label=REGEX, whose first group is the class: "
            r"names/FOLDER?label=^(\w+)\. of cat.123.jpg"
        )
    if not path.is_dir():
        raise UserError(folder_checks.missing(path))
    found = listing.walk(path)
    ids, place = sorted(found.pictures), printable(path)
    if not ids:
        raise UserError(f"{place} has no pictures{folder_checks.there(path, found.others)}; add some.")
    names = _found(ids, options["label"], "label", place)
    classes = table_labels.ordered(list(dict.fromkeys(names)))
    table_labels.refuse_numbers(classes, len(names), f"names/{place}: label={options['label']}")
    if trains and len(classes) < 2:
        raise UserError(f"{place}: all pictures have the label {classes[0]!r}, but two classes are the least.")
    layout.refuse_alike(place, classes)
    number = {name: i for i, name in enumerate(classes)}
    labels = np.array([number[name] for name in names], np.int32)
    left_out, notes = found.others.reasons(path), _told(options["label"], classes)
    if "split" not in options:
        return {"all": TableSource(str(path), ids, labels, classes, left_out, notes)}
    splits = _splits(ids, options["split"], place, trains)
    if trains and (lack := sorted(set(range(len(classes))) - set(labels[splits["train"]].tolist()))):
        first = classes[lack[0]]
        raise UserError(f"{place}: {len(lack):,} class(es) have no picture in train, e.g. {first!r}; add some.")
    splits = {"all": splits["train"]} if list(splits) == ["train"] else splits
    first = next(iter(splits))
    return {
        split: TableSource(
            str(path), [ids[row] for row in rows], labels[rows], classes, *((left_out, notes) if split == first else ())
        )
        for split, rows in splits.items()
    }


def _found(ids: Sequence[str], expression: str, option: str, place: str) -> list[str]:
    """What an expression finds in each path."""
    what = f"{option}={printable(expression)}"
    try:
        pattern = re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        raise UserError(f"{what} is no regular expression ({error}); an & in it is written %26, a % as %25.") from None
    if not pattern.groups:
        raise UserError(f"{what} has no group; put brackets around what names the {option}, such as ^(\\w+)_")
    group = option if option in pattern.groupindex else 1
    matches = [pattern.search(name) for name in ids]
    found = [(match[group] or "").strip() if match else "" for match in matches]
    if wrong := [name for name, value in zip(ids, found, strict=True) if not value]:
        raise UserError(
            f"{place}: {what} finds nothing in {len(wrong):,} of {len(ids):,} pictures, e.g. {printable(wrong[0])!r}; "
            "change it, or move them away."
        )
    return found


def _splits(ids: Sequence[str], expression: str, place: str, trains: bool) -> dict[str, np.ndarray]:
    values = _found(ids, expression, "split", place)
    meant = {value: layout.split_of(value) for value in dict.fromkeys(values)}
    if wrong := [name for name, value in zip(ids, values, strict=True) if meant[value] is None]:
        value = values[ids.index(wrong[0])]
        raise UserError(
            f"{place}: split={printable(expression)} finds {value!r} in {wrong[0]!r} and no split in "
            f"{len(wrong):,} pictures; splits are {SPLITS}."
        )
    splits = np.array([meant[value] for value in values])
    found = {split: rows for split in ORDER if len(rows := np.flatnonzero(splits == split))}
    if trains and "train" not in found:
        raise UserError(f"{place}: split={printable(expression)} finds {' and '.join(found)} but no train.")
    return found


def _told(expression: str, classes: Sequence[str]) -> list[str]:
    return [f"label={expression} finds the classes {layout.listed(classes)}", *layout.alike(classes)]
