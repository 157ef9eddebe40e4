"""Sentences that name a class: what a tower of texts is asked about a picture."""

import csv
from collections.abc import Sequence
from pathlib import Path

from jaxcls.errors import UserError

PLACE = "{}"
SETS = {
    "name": ("{}",),
    "photo": ("a photo of a {}.",),
    # Chosen by Radford et al. on ImageNet, in the notebook beside their code; no worse there than all of their 80.
    "seven": (
        "itap of a {}.",
        "a bad photo of the {}.",
        "a origami {}.",
        "a photo of the large {}.",
        "a {} in a video game.",
        "art of the {}.",
        "a photo of the small {}.",
    ),
}


def read(names: Sequence[str]) -> tuple[str, ...]:
    """Templates of what names them: one of SETS, a sentence with {} in it, or a file with such a sentence a line.

    Raises:
      UserError: for a name that is none of these, or a line without {}.
    """
    found: list[str] = []
    for name in names:
        if name in SETS:
            found += SETS[name]
        elif PLACE in name:
            found.append(name)
        else:
            found += _lines(name)
    return tuple(dict.fromkeys(found))


def filled(templates: Sequence[str], name: str) -> list[str]:
    """The sentences about a class; its name with spaces in place of underscores."""
    return [template.replace(PLACE, " ".join(name.replace("_", " ").split())) for template in templates]


def _lines(path):
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise UserError(
            f"--templates {path}: no sentence with {PLACE} in it, none of {', '.join(SETS)}, and no file: {why}"
        ) from error
    if bad := [line for line in lines if PLACE not in line]:
        raise UserError(f"{path}: {len(bad)} of its {len(lines)} lines have no {PLACE}, first {bad[0]!r}")
    if not lines:
        raise UserError(f"{path} has no sentence; give one a line, as 'a photo of a {PLACE}.'")
    return lines


def words(path: str | Path) -> dict[str, str]:
    """Class -> what it is called in sentences, of a CSV file with the columns class and words.

    Raises UserError for a file that is none.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--words {path} can't be read: {getattr(error, 'strerror', None) or error}") from error
    if not rows or [cell.strip() for cell in rows[0]] != ["class", "words"]:
        raise UserError(f"--words {path} is a CSV file whose first line is class,words")
    rows = [row for row in rows[1:] if row]
    if bad := [row for row in rows if len(row) != 2 or not all(cell.strip() for cell in row)]:
        raise UserError(
            f"--words {path}: {len(bad)} lines do not have a class and its words, first {','.join(bad[0])!r}"
        )
    return {name.strip(): text.strip() for name, text in rows}
