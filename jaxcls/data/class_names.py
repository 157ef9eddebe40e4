"""Classes of one set as those of another: matched by name."""

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from jaxcls import files
from jaxcls.errors import UserError
from jaxcls.types import PathLike

SHOWN = 5


class Match(NamedTuple):
    """How the classes of a set are called by a model.

    Attributes:
      names: for each class of the set the model's name; None where the model knows none.
      alike: (set's name, model's name) of those that are the same but for case, blanks or separators.
      surplus: classes of the set that the model does not know.
      missing: classes of the model that the set has not.
    """

    names: tuple[str | None, ...]
    alike: tuple[tuple[str, str], ...]
    surplus: tuple[str, ...]
    missing: tuple[str, ...]

    def lines(self) -> list[str]:
        """What is not the same, for people."""
        lines = []
        if self.alike:
            pairs = ", ".join(f"{a!r} as {b!r}" for a, b in self.alike[:SHOWN])
            lines.append(f"classes taken for each other: {pairs}{_more(self.alike)}")
        if self.surplus:
            names = some(self.surplus)
            lines.append(f"{len(self.surplus)} class(es) that the model does not know, left out: {names}")
        if self.missing:
            lines.append(f"{len(self.missing)} class(es) of the model that have no pictures here: {some(self.missing)}")
        return lines


def match(theirs: Sequence[str], ours: Sequence[str]) -> Match:
    """Finds each class of a set among those of a model: the same name, else one that reads the same.

    Args:
      theirs: names of the set's classes.
      ours: names of the model's.

    Raises:
      UserError: where none is found, or two classes of the set are one of the model's.
    """
    theirs, ours = [str(name) for name in theirs], [str(name) for name in ours]
    free = {name for name in ours if name not in theirs}
    by_form: dict[str, list[str]] = {}
    for name in ours:
        if name in free:
            by_form.setdefault(form(name), []).append(name)
    known, alike = set(ours), []
    names: list[str | None] = []
    for name in theirs:
        near = by_form.get(form(name), [])
        if name in known:
            names.append(name)
        elif len(near) == 1:
            names.append(near[0])
            alike.append((name, near[0]))
        else:
            names.append(None)
    found = [name for name in names if name is not None]
    if not found:
        raise UserError(
            f"no class of these pictures ({some(theirs)}) is one of the model's ({some(ours)}); name the class folders "
            "as the model's classes."
        )
    if twice := sorted({name for name in found if found.count(name) > 1} if len(set(found)) < len(found) else ()):
        both = [name for name, target in zip(theirs, names, strict=True) if target == twice[0]]
        raise UserError(f"the classes {' and '.join(map(repr, both))} are both {twice[0]!r}; put them together.")
    surplus = [name for name, target in zip(theirs, names, strict=True) if target is None]
    missing = sorted(set(ours) - set(found), key=ours.index)
    return Match(tuple(names), tuple(alike), tuple(surplus), tuple(missing))


def form(name: str) -> str:
    """A name without what is easily written in two ways: case, Unicode's form, blanks, `_` and `-`."""
    return " ".join(re.split(r"[\s_\-]+", unicodedata.normalize("NFKC", name).casefold().strip()))


def some(names: Sequence[str]) -> str:
    """The first few names, in quotes."""
    return ", ".join(map(repr, names[:SHOWN])) + _more(names)


def _more(names):
    return f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""


def read(file: PathLike) -> list[str]:
    """The names in a text file, one a line, in the order of a model's outputs.

    Raises:
      UserError: where it can't be read, or has not two or more names, all different.
    """
    try:
        lines = files.read_bytes(files.path(str(file)), 2**24).decode().splitlines()
    except (OSError, UnicodeError) as error:
        raise UserError(f"--classes={file} can't be read ({getattr(error, 'strerror', None) or error}).") from error
    names = [line.strip() for line in lines if line.strip()]
    if len(set(names)) < max(2, len(names)):
        raise UserError(f"--classes={file} must have two or more names, one a line, all different.")
    return names
