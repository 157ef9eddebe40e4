"""Folders of pictures: one sub-folder per class, with or without split folders.

    root/cats/1.jpg                  one tree: `sources.load` splits it
    root/train/cats/1.jpg            split folders: train, and validation and/or test, by many names (`layout.split_of`)
    root/val/cats/2.jpg
    root/cats/train/1.jpg            split folders inside each class
    root/cats/test/2.jpg

Pictures may lie deeper inside a class folder. Classes are those of train, in natural order (img2 before img10). A split
folder must have the same class folders; one may be empty outside train. A single folder that only wraps the class
folders of a split (seg_train/seg_train/cats) is passed through. A test folder without class folders has no labels: it
is noted and left out. All else that is left out is counted by its reason (`FolderSource.left_out`).

Folders with names of splits are splits where train and another one stand there, or train alone. Beside others that are
none, such a folder is a class if it holds pictures itself, which is noted; where it holds folders, it is refused, since
it may be either: renaming it, or moving the others away, says which.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxcls.data import folder_checks, layout, listing
from jaxcls.data.folder_source import FolderSource
from jaxcls.data.layout import listed, split_of
from jaxcls.data.listing import Listing, Others
from jaxcls.errors import UserError
from jaxcls.text import printable

ORDER = ("train", "validation", "test")
BESIDE = "folder(s) beside the split folders (jaxcls predict answers pictures without labels)"
OUTSIDE = "picture(s) outside of the class folders"


class Look:
    """What folders hold, by their paths relative to the root; each is listed once. `suffixes`: as of `listing.read`."""

    def __init__(self, root: Path, suffixes: Collection[str] | None = None):
        self.root, self.suffixes = root, suffixes
        self.known: dict[str, Listing] = {}

    def __call__(self, place: str) -> Listing:
        """The folder itself."""
        if place not in self.known:
            self.known[place] = listing.read(self.root / place, self.suffixes)
        return self.known[place]

    def walk(self, place: str) -> Listing:
        """All that lies in it, at any depth."""
        return listing.walk(self.root / place, self(place), self.suffixes)


def scan(path: str | Path, *, trains: bool = True, suffixes: Collection[str] | None = None) -> dict[str, FolderSource]:
    """Finds the pictures of a folder: {"train": ..., "validation": ..., "test": ...}, or {"all": ...} for one tree.

    Args:
      path: the folder.
      trains: whether a model is trained on it. To score one, one class is enough, class folders may be empty, and there
        need be no train folder.
      suffixes: of what counts as pictures, as of `listing.read`.

    Raises:
      UserError: missing folder, no classes or fewer than two, a class without pictures, pictures outside of class
        folders, class folders that differ between splits, names that may be splits or classes, classes that are surely
        meant to be one.
    """
    root = Path(path)
    if not root.is_dir():
        raise UserError(folder_checks.missing(root))
    look = Look(root, suffixes)
    folders = sorted(look("").folders, key=layout.natural)
    splits = {name: split for name in folders if (split := split_of(name))}
    if "train" in splits.values() and (len(splits) > 1 or len(folders) == 1):
        return _split_folders(root, look, splits)
    if splits and len(splits) == len(folders):
        if not trains:
            return _scored(root, look, splits)
        names = ", ".join(sorted(map(printable, splits)))
        raise UserError(f"{printable(root)} has {names} but no train folder; add one, with the same classes")
    if len(folders) > 1 and (inside := _splits_in_classes(root, look, folders)):
        return _classes_with_splits(root, look, inside)
    for name, split in splits.items():
        if look(name).folders and not look(name).pictures:
            others = listed([other for other in folders if other not in splits])
            meant = (
                "call the others val and test or move them away" if split == "train" else "call that of training train"
            )
            raise UserError(
                f"{printable(root)}: {name!r} has the name of a split and folders inside, but beside it stands "
                f"{others}; if it is a split, {meant}; if it is a class, rename it"
            )
    return {"all": _tree(root, look, trains=trains)}


def _scored(root: Path, look: Look, splits: Mapping[str, str]) -> dict[str, FolderSource]:
    """The sources of split folders without train, of names -> splits; the classes are those of the first one."""
    found: dict[str, FolderSource] = {}
    for split in [split for split in ORDER if split in splits.values()]:
        name = folder_checks.only(root, split, [name for name in splits if splits[name] == split])
        classes = next(iter(found.values())).classes if found else None
        found[split] = _tree(root, look, _unwrapped(look, name, split), classes, trains=False)
    return found


def _split_folders(root: Path, look: Look, splits: Mapping[str, str]) -> dict[str, FolderSource]:
    """The sources of root/train/class and so on, of names of folders -> splits; {"all"} if only train has labels."""
    train = folder_checks.only(root, "train", [name for name, split in splits.items() if split == "train"])
    classes = look(_unwrapped(look, train, "train")).folders
    unlabelled = {
        name: number
        for name, split in splits.items()
        if split == "test" and (number := _without_labels(look, name, classes))
    }
    labelled = {name: split for name, split in splits.items() if name not in unlabelled}
    places = {
        split: folder_checks.only(root, split, [name for name in labelled if labelled[name] == split])
        for split in ORDER
        if split in labelled.values()
    }
    folder_checks.links(root, [*splits])
    if len(places) == 1:
        found = scan(root / train, suffixes=look.suffixes)
    else:
        found = {"train": _tree(root, look, _unwrapped(look, train, "train"))}
        for split, name in [*places.items()][1:]:
            found[split] = _tree(root, look, _unwrapped(look, name, split), found["train"].classes)
    others = Others()
    others.update(look("").others)
    for name in look("").folders:
        if name not in splits:
            others.add(BESIDE, name)
    for name in look("").pictures:
        others.add(OUTSIDE, name)
    first = next(iter(found.values()))
    first.left_out = listing.added(others.reasons(root), first.left_out)
    first.notes += tuple(
        f"{printable(name)}: {number:,} picture(s) in no class folders, so without labels, are left out; "
        f"`jaxcls predict RUN {printable(root / name)}` answers them"
        for name, number in unlabelled.items()
    )
    return found


def _unwrapped(look: Look, name: str, split: str) -> str:
    """The folder that has a split's class folders: its own, or a single one in it that only wraps them."""
    place = name
    for _ in range(3):
        here = look(place)
        if len(here.folders) != 1 or here.pictures or not layout.wraps(here.folders[0], split):
            break
        inside = f"{place}/{here.folders[0]}"
        if look(inside).pictures or not look(inside).folders:
            break
        place = inside
    return place


def _without_labels(look: Look, name: str, classes: Sequence[str]) -> int:
    """How many pictures a test folder has where they have no labels: in no folder, or in one that is no class."""
    here = look(name)
    if not here.folders:
        return len(here.pictures)
    inside = here.folders[0]
    wrapper = _unwrapped(look, name, "test") != name
    if len(here.folders) > 1 or here.pictures or wrapper or inside in classes or folder_checks.near(inside, classes):
        return 0
    return len(look.walk(f"{name}/{inside}").pictures)


def _splits_in_classes(root: Path, look: Look, folders: Sequence[str]) -> dict[str, dict[str, str]]:
    """Class -> split -> path of its folder, where the class folders hold split folders and nothing else; else {}.

    Raises:
      UserError: where only some of them do.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for name in folders:
        roles = {inside: split_of(inside) for inside in sorted(look(name).folders)}
        if roles and all(roles.values()) and not look(name).pictures:
            found[name] = {str(split): [x for x in roles if roles[x] == split] for split in roles.values()}
    example = next((name for name, inside in found.items() if "train" in inside and len(inside) > 1), None)
    if example is None:
        return {}
    for name in folders:
        if "train" not in found.get(name, {}):
            raise UserError(
                f"{printable(root)}: the class folder {example!r} has {listed(look(example).folders)} inside, but "
                f"{name!r} has no train folder; make the splits in each class folder, or in none"
            )
    return {
        name: {split: f"{name}/{folder_checks.only(root / name, split, x)}" for split, x in inside.items()}
        for name, inside in found.items()
    }


def _classes_with_splits(root: Path, look: Look, inside: Mapping[str, Mapping[str, str]]) -> dict[str, FolderSource]:
    """The sources of root/class/train and so on, from `_splits_in_classes`."""
    classes = [*inside]
    folder_checks.classes(root, "", classes)
    others = Others()
    for name in ("", *classes):
        others.update(look(name).others, f"{name}/" if name else "")
    for name in look("").pictures:
        others.add(OUTSIDE, name)
    found = {}
    for split in ORDER:
        places = [splits.get(split) for splits in inside.values()]
        if any(places):
            found[split] = _source(root, look, places, classes, others if split == "train" else Others())
    found["train"].notes = tuple(layout.notes(classes))
    return found


def _tree(
    root: Path, look: Look, base: str = "", classes: Sequence[str] | None = None, trains: bool = True
) -> FolderSource:
    """The class folders in root/base, which must be `classes` if given; ids are relative to root."""
    here, place = look(base), printable(root / base)
    without = f"; without labels they are unlabelled/{place} (config.ssl)" if trains else ""
    if here.pictures:
        raise UserError(
            f"{place}: {len(here.pictures)} picture(s) lie outside of class folders, e.g. {here.pictures[0]!r}; "
            f"move each into the folder of its class{'' if here.folders else without}"
        )
    if not here.folders:
        there = folder_checks.there(root / base, here.others)
        remedy = "put the pictures of each class into a sub-folder of its name" + (", or remove it" if base else "")
        raise UserError(f"{place} has no sub-folders{there}; {remedy}")
    folders, prefix = sorted(here.folders, key=layout.natural), f"{base}/" if base else ""
    if classes is None and len(folders) == 1 and trains:
        raise UserError(
            f"{place} has one sub-folder, {folders[0]!r}, but two classes are the least; if the class folders are "
            f"inside it, use folder/{printable(root / base / folders[0])}{without}"
        )
    if classes is not None:
        folder_checks.same_classes(place, folders, classes)
    folder_checks.classes(root, prefix, folders)
    others = Others()
    others.update(here.others, prefix)
    places, may_be_empty = [prefix + name for name in folders], classes is not None or not trains
    source = _source(root, look, places, folders, others, may_be_empty)
    if classes is None:
        source.notes = (*layout.notes(folders), *folder_checks.notes(look, prefix, folders))
    return source


def _source(
    root: Path,
    look: Look,
    places: Sequence[str | None],
    classes: Sequence[str],
    others: Others,
    may_be_empty: bool = False,
) -> FolderSource:
    """All pictures in the folder of each class (None: it has none); `others` is what was left out above them."""
    ids: list[str] = []
    labels: list[int] = []
    empty = {}
    for label, place in enumerate(places):
        if place is None:
            continue
        found = look.walk(place)
        if not found.pictures:
            empty[place] = found.others
        ids += [f"{place}/{path}" for path in sorted(found.pictures)]
        labels += [label] * len(found.pictures)
        others.update(found.others, f"{place}/")
    if empty and not may_be_empty:
        raise UserError(folder_checks.without_pictures(root, empty))
    if not ids:
        raise UserError(f"{printable((root / str(places[0])).parent)} has no pictures; add some or remove the folder")
    source = FolderSource(str(root), ids, np.array(labels, np.int32), classes, others.reasons(root))
    source.places = tuple(place for place in places if place is not None)
    return source
