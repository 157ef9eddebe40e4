"""Hugging Face image sets on the disk, `hf/FOLDER`, read by pyarrow alone.

    FOLDER/data/train-00000-of-00002.parquet ...      a set of the hub, as it is downloaded; pictures lie in the files
    FOLDER/train/data-00000-of-00001.arrow ...        what `save_to_disk` has written, of one split or several

Picture, label and class names are those that the set's features tell (in the files, dataset_info.json, or the head of
README.md); a list of labels is a set of them.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxcls import files
from jaxcls.data import hf_columns, hf_files, label_values
from jaxcls.data.base import Source
from jaxcls.data.dealing import ALL
from jaxcls.data.layout import natural, split_of
from jaxcls.data.pieces import PieceSource, stamp
from jaxcls.errors import UserError, did_you_mean, listed
from jaxcls.text import printable

_PART = re.compile(r"-(\d{5})-of-(\d{5})(?:-[0-9a-f]+)?$")  # of a file that has parts


def scan(path: str | Path, options: Mapping[str, str]) -> dict[str, Source]:
    """The sources of a set on the disk: {"all": source}, or {"train": source, ...}.

    Args:
      path: the folder.
      options: `image`, `label`: names of columns; `split`: that split alone.

    Raises:
      UserError: for a folder without such a set, a damaged file, unknown columns, pictures that are paths alone.
    """
    root, place = Path(path), f"hf/{printable(path)}"
    if not root.is_dir():
        raise UserError(f"{place} is no folder; it must be one of a set of the hub, or one of save_to_disk.")
    by_name = _saved(root, place) or _by_files(root, place)
    chosen, left = _chosen(by_name, options.get("split"), place)
    first = next(iter(chosen.values()))[0]
    schema = hf_files.schema(first)
    features = hf_columns.of_schema(schema) or hf_columns.of_info(first.with_name("dataset_info.json"))
    columns = hf_columns.choose(schema, features or hf_columns.of_card(root / "README.md"), options, place)
    read = {}
    for split, paths in chosen.items():
        arrow = paths[0].suffix == ".arrow"
        title = f"{place}, {split}"
        read[split] = hf_files.arrow(paths, columns) if arrow else hf_files.parquet(paths, columns, title)
    return _sources(read, chosen, columns, [*left, *_unlabelled(read)], place)


def _sources(read, chosen, columns, notes, place):
    """split -> PieceSource of split -> hf_files.Split."""
    if empty := [split for split, each in read.items() if not len(each.pieces.size)]:
        raise UserError(f"{place}: {empty[0]} has no rows; write it anew, or take its files away.")
    bare = [split for split, each in read.items() if _has_none(each)]
    if len(bare) < len(read):  # beside labelled splits those without are for a competition
        read = {split: each for split, each in read.items() if split not in bare}
    ids = _ids(read)
    if bare and len(bare) == len(read):
        classes, labels = (), {s: np.full(len(x), label_values.NONE, np.int32) for s, x in ids.items()}
        if len(read) == 1:
            read, ids, labels = ({"train": next(iter(x.values()))} for x in (read, ids, labels))
            chosen = {"train": next(iter(chosen.values()))}
    else:
        classes, labels = _labels(read, ids, columns, place)
    return {
        split: PieceSource(x.paths, x.pieces, ids[split], labels[split], classes, stamp(chosen[split]), notes)
        for split, x in read.items()
    }


def _has_none(split):
    """Whether a split has no labels: the hub writes -1."""
    values = split.values
    return values is None or (isinstance(values, np.ndarray) and bool((values == label_values.NONE).all()))


def _unlabelled(read):
    bare = [split for split, each in read.items() if _has_none(each)]
    if not bare or len(bare) == len(read):
        return []
    return [f"{listed(bare)} has no labels and is left out; `jaxcls predict` answers it"]


def _labels(read, ids, columns, place):
    """(classes, split -> labels)."""
    values = {split: each.values for split, each in read.items()}
    if not all(isinstance(each, np.ndarray) for each in values.values()):
        plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in values.items()}
        return label_values.over_splits(plain, ids, place, columns.names)
    names = [name for each in ids.values() for name in each]
    classes, labels = label_values.of_numbers(np.concatenate(list(values.values())), names, place, columns.names)
    return classes, dict(zip(values, np.split(labels, np.cumsum([len(x) for x in values.values()])[:-1]), strict=True))


def _ids(read):
    """split -> ids: the names of the pictures where each has one of its own, else numbers."""
    ids = {}
    for split, each in read.items():
        own = all(each.names) and len(set(each.names)) == len(each.names)
        names = each.names if own else range(len(each.names))
        ids[split] = (
            [f"{split}{'/' if own else '_'}{name}" for name in names] if len(read) > 1 or not own else each.names
        )
    return ids


def _saved(root: Path, place: str) -> dict[str, list[Path]]:
    """Name of a split -> its files, of a folder of save_to_disk; {} where it is none."""
    listing = files.read_json(root / "dataset_dict.json", strict=True)
    if listing is None:
        return {"": _of_state(root, place)} if (root / "state.json").is_file() else {}
    names = listing.get("splits") if isinstance(listing, dict) else None
    if not (isinstance(names, list) and names and all(isinstance(x, str) and Path(x).name == x for x in names)):
        raise UserError(f"{place}: dataset_dict.json is damaged; copy the folder again.")
    return {name: _of_state(root / name, place) for name in names}


def _of_state(folder, place):
    """The files of one split of save_to_disk."""
    state = files.read_json(folder / "state.json", strict=True)
    try:
        names = [os.path.basename(entry["filename"]) for entry in state["_data_files"]]
        indices = state.get("_indices_data_files")
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{place}: {printable(folder / 'state.json')} is missing or damaged; copy the folder again."
        ) from error
    if indices:
        raise UserError(
            f"{place}: rows are chosen by a list beside the pictures; write it anew after ds.flatten_indices()."
        )
    if lost := [name for name in names if not (folder / name).is_file()]:
        raise UserError(f"{place}: {printable(folder / lost[0])} is missing; copy the folder again.")
    return [folder / name for name in names]


def _by_files(root: Path, place: str) -> dict[str, list[Path]]:
    """Name of a split -> its Parquet (or Arrow) files anywhere below the folder, by their names."""
    found: dict[str, dict[str, list[Path]]] = {}
    for suffix in (".parquet", ".arrow"):
        for path in sorted(root.rglob(f"*{suffix}"), key=lambda path: natural(str(path))):
            folders = path.relative_to(root).parts[:-1]
            if any(part.startswith(".") for part in folders) or path.name.startswith(("cache-", ".")):
                continue
            stem = _PART.sub("", path.stem)
            if stem.isdecimal() and folders:  # default/train/0000.parquet
                stem, folders = folders[-1], folders[:-1]
            words = [word for word in re.split(r"[\W_]+", stem) if split_of(word)]
            name = stem if split_of(stem) or not words else words[-1]  # mnist-train
            config = "/".join(part for part in folders if part != "data")
            found.setdefault(config, {}).setdefault(name, []).append(path)
        if found:
            break
    if not found:
        raise UserError(
            f"{place} has no .parquet file, and is no folder of save_to_disk (state.json, dataset_dict.json)."
        )
    if len(found) > 1:
        last = list(found)[-1]
        raise UserError(f"{place} has several sets, in {listed(found)}; name one: {place.rstrip('/')}/{last}")
    by_name = next(iter(found.values()))
    for name, paths in by_name.items():
        _check_parts(name, paths, place)
    return by_name


def _check_parts(name, paths, place):
    """Raises UserError where one of the parts that their names count is missing."""
    matches = [match for path in paths if (match := _PART.search(path.stem))]
    for total in {match[2] for match in matches}:
        there = {match[1] for match in matches if match[2] == total}
        if lost := [number for number in range(int(total)) if f"{number:05d}" not in there]:
            raise UserError(
                f"{place}: {len(lost):,} of the {int(total):,} files of {name or 'the set'} are missing, the first is "
                f"number {lost[0]:05d}; get them, too."
            )


def _chosen(
    by_name: Mapping[str, Sequence[Path]], wanted: str | None, place: str
) -> tuple[dict[str, list[Path]], list[str]]:
    """(split -> files, notes about what is left out)."""
    if wanted is not None:
        if wanted not in by_name:
            raise UserError(
                f"{place} has no split {wanted!r}; it has {listed(by_name)}{did_you_mean(wanted, list(by_name))}"
            )
        return {ALL: list(by_name[wanted])}, []
    if len(by_name) == 1:
        return {ALL: list(next(iter(by_name.values())))}, []
    known = {name: split for name in by_name if (split := split_of(name))}
    for split in dict.fromkeys(known.values()):
        if len(same := [name for name, each in known.items() if each == split]) > 1:
            raise UserError(f"{place}: {listed(same)} are both {split}; name one: ?split={same[0]}")
    if not known:
        raise UserError(
            f"{place} has the splits {listed(by_name)}, of which none is train; name one: ?split={next(iter(by_name))}"
        )
    others = [name for name in by_name if name not in known]
    notes = [f"{listed(others)} of {place} is left out; ?split={others[0]} takes it alone"] if others else []
    if len(known) == 1 and "train" in known.values():
        return {ALL: list(by_name[next(iter(known))])}, notes
    return {split: list(by_name[name]) for name, split in known.items()}, notes
