"""What names of folders mean: which are splits, which classes look like splits or like one another."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from jaxcls.errors import UserError

SHOWN = 5  # names in a message
_SPLITS = {"train": "train|training|trn|trainval", "validation": "val|valid|validation|dev|devel"}
_SPLITS["test"] = "test|testing|tst|eval|evaluation"
_BESIDE = "(?:seg|split|data|set|images?|imgs?|pictures?|pics?|photos?|folder|dir)*"  # words that add nothing
_SPLIT = re.compile(_BESIDE + "(?:" + "|".join(f"(?P<{k}>{v})" for k, v in _SPLITS.items()) + ")" + _BESIDE + "v?")


def split_of(name: str) -> str | None:
    """The split that a folder's name means, "train", "validation" or "test"; None for other names.

    Case, separators and digits do not count, nor words such as set, data, images, seg, split before or behind:
    Training, trainset, seg_train, train-images, train2017, test1, Dev set, val_v2. What remains must be one of train,
    training, trn, trainval; val, valid, validation, dev, devel; test, testing, tst, eval, evaluation.
    """
    match = _SPLIT.fullmatch(_letters(name))
    return match.lastgroup if match else None


def wraps(name: str, split: str | None) -> bool:
    """Whether a single folder inside that of a split only wraps its class folders: train/train/cat, val/images/cat."""
    letters = _letters(name)
    return split_of(name) == split or bool(letters and re.fullmatch(_BESIDE, letters))


def _letters(name: str) -> str:
    return re.sub(r"[\W\d_]+", "", unicodedata.normalize("NFKC", name).casefold())


def natural(name: str) -> tuple:
    """Sort key with numbers as numbers: img2 before img10."""
    return [(int(x), "") if x.isdecimal() else (-1, x) for x in re.split(r"(\d+)", name.casefold())], name


def listed(names: Sequence[str]) -> str:
    """The first few names, quoted, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more


def same(a: str, b: str) -> str:
    """By what alone two names differ, "" if by more: case, blanks, invisible characters, Unicode form."""
    if _key(a) != _key(b):
        return ""
    a, b = unicodedata.normalize("NFC", a), unicodedata.normalize("NFC", b)
    if a == b:
        return "Unicode form"
    if _visible(a) == _visible(b):
        return "invisible characters"
    return "blanks" if _blanks(_visible(a)) == _blanks(_visible(b)) else "case"


def refuse_alike(place: str, classes: Iterable[str]) -> None:
    """Raises UserError where two classes are surely meant to be one; letters in two cases (a, A) may be two."""
    for name, other in _pairs(classes, _key):
        how = same(name, other)
        if how != "case" or len(name.strip()) > 1:
            shown = (ascii(name), ascii(other)) if how == "Unicode form" else (repr(name), repr(other))
            raise UserError(f"{place}: the classes {' and '.join(shown)} differ by {how} alone; merge or rename them")


def notes(classes: Sequence[str]) -> list[str]:
    """Lines about classes that may be meant as they are, but look like splits or like one another."""
    lines = []
    if looks := [name for name in classes if split_of(name)]:
        lines.append(
            f"{_classes(looks)} the name of a split, but is read as a class; split folders stand beside each other "
            "(train, val, test), with class folders in them"
        )
    return [*lines, *alike(classes)]


def alike(classes: Sequence[str]) -> list[str]:
    """Lines about classes that look like one another, but may be meant as they are."""
    lines, known = list[str](), set(classes)
    letters = _pairs(classes, _key)  # in two cases; all else of them was refused
    loose = [pair for pair in _pairs(classes, _loose) if not same(*pair)]
    plurals = [(name[:-1], name) for name in classes if name.endswith("s") and name[:-1] in known]
    pairs = [*letters, *loose, *plurals]
    for name, other in pairs[:SHOWN]:
        lines.append(f"the classes {name!r} and {other!r} look alike; merge them if they are meant to be one")
    if len(pairs) > SHOWN:
        lines.append(f"{len(pairs) - SHOWN} more pairs of classes look alike")
    return lines


def _classes(names: list[str]) -> str:
    return f"class {names[0]!r} has" if len(names) == 1 else f"each of the classes {listed(names)} has"


def _pairs(names: Iterable[str], key) -> Iterator[tuple[str, str]]:
    """Each name whose key an earlier one has, behind that one."""
    seen: dict[str, str] = {}
    for name in names:
        if (first := seen.setdefault(key(name), name)) != name:
            yield first, name


def _visible(name: str) -> str:
    return "".join(c for c in name if unicodedata.category(c) not in ("Cf", "Cc") or c.isspace())


def _blanks(name: str) -> str:
    return " ".join(name.split())


def _key(name: str) -> str:
    """Equal for names that differ by case, blanks, invisible characters or Unicode form alone."""
    return unicodedata.normalize("NFC", _blanks(_visible(unicodedata.normalize("NFC", name))).casefold())


def _loose(name: str) -> str:
    """As `_key`, and equal for hyphens, underscores and blanks, and for letters in another font or width, too."""
    return re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", _key(unicodedata.normalize("NFKC", name)))
