"""What must hold of the folders of a set, each a UserError in one line, and what is worth a note."""

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jaxcls.data import layout, listing
from jaxcls.data.layout import listed, split_of
from jaxcls.data.listing import Listing, Others
from jaxcls.errors import UserError
from jaxcls.text import printable


def only(root: Path, split: str, names: Sequence[str]) -> str:
    """The one folder of a split. Raises UserError for two."""
    if len(names) > 1:
        first, second = sorted(names)[:2]
        raise UserError(f"{printable(root)} has two folders for {split}, {first!r} and {second!r}; keep or rename one")
    return names[0]


def classes(root: Path, prefix: str, names: Sequence[str]) -> None:
    """Raises UserError where two classes root/prefix + name are surely meant to be one, or are one folder."""
    layout.refuse_alike(printable(root / prefix), names)
    links(root, [prefix + name for name in names])


def links(root: Path, places: Sequence[str]) -> None:
    """Raises UserError where links make two of the folders root/place the same one, or one that root is in."""
    if not any(os.path.islink(root / place) for place in places):
        return
    seen, above = dict[str, str](), os.path.realpath(root)
    for place in places:
        real = os.path.realpath(root / place)
        if real == above or above.startswith(real.rstrip(os.sep) + os.sep):
            raise UserError(f"{printable(root / place)} is a link to a folder that it is in; remove it")
        if real in seen:
            raise UserError(f"{printable(root)}: {seen[real]!r} and {place!r} are links to one folder; remove one")
        seen[real] = place


def same_classes(base: str, folders: Sequence[str], classes: Sequence[str]) -> None:
    """Raises UserError where the class folders of a split are not those of train; an empty one is enough."""
    known, given = set(classes), set(folders)
    for name in folders:
        if name not in known:
            other = near(name, classes)
            how = layout.same(name, other) if other else ""
            hint = "add it to train or remove it; where pictures have no labels, let `jaxcls predict` answer them"
            if other:
                hint = f"rename it to {other!r} if that is meant" + (f", they differ by {how} alone" if how else "")
            raise UserError(f"{base}: class {name!r} is not in train; {hint}")
    for name in classes:
        if name not in given:
            raise UserError(
                f"{base}: class {name!r} of train has no folder; make one (empty, if it has no pictures here)"
            )


def near(name: str, classes: Sequence[str]) -> str:
    """The class that a name is probably meant to be, or ""."""
    alike = [other for other in classes if layout.same(name, other)] or difflib.get_close_matches(name, classes, 1)
    return alike[0] if alike else ""


def without_pictures(root: Path, empty: Mapping[str, Others]) -> str:
    """The message for class folders without pictures, with what is there instead."""
    names = [printable(root / place) for place in empty]
    more = f" and {len(names) - layout.SHOWN} more" if len(names) > layout.SHOWN else ""
    others = Others()
    for place, found in empty.items():
        others.update(found, f"{place}/")
    return (
        f"{', '.join(names[: layout.SHOWN])}{more}: class folder without pictures{there(root, others)}; "
        "add some (.jpg, .png, .webp, .bmp, .gif, .tif or .ppm) or remove it"
    )


def there(root: Path, others: Others) -> str:
    """What a folder without pictures has instead, in brackets; "" for nothing."""
    left_out = sorted(others.reasons(root).items(), key=lambda item: -item[1][0])[:3]
    return f" (there: {'; '.join(f'{count:,} {printable(why)}' for why, (count, _) in left_out)})" if left_out else ""


def notes(look: Callable[[str], Listing], prefix: str, names: Sequence[str]) -> list[str]:
    """Lines about what the class folders prefix + name hold that looks as if the layout were another one."""
    lines = []
    here = {name: look(prefix + name) for name in names}
    inside = [
        f"{name}/{folder}" for name, found in here.items() for folder in found.folders if split_of(folder) is not None
    ]
    if inside:
        lines.append(f"{listed(inside)}: the name of a split, but its pictures are read as others of the class")
    first = sorted(here[names[0]].folders)
    if len(first) > 1 and all(sorted(found.folders) == first and not found.pictures for found in here.values()):
        lines.append(
            f"all of the classes {listed(names)} have the same sub-folders, {listed(first)}; if those are the classes, "
            "call the folders above them train, val and test"
        )
    return lines


def missing(root: Path) -> str:
    """The message for a folder that is not there: the nearest parent that is, and similar names in it."""
    if root.exists():
        return f"{printable(root)} is a file, not a folder; unpack it if it is an archive"
    parent, child = root.absolute().parent, root.name
    while not parent.is_dir():
        parent, child = parent.parent, parent.name
    similar = difflib.get_close_matches(child, listing.read(parent).folders, 3)
    hint = f"which has {' and '.join(map(repr, similar))}" if similar else f"which has no {child!r}"
    return f"folder {printable(root)} does not exist; the nearest that does is {printable(parent)}, {hint}"
