"""Names of sets with options: `table/FILE?label=breed&split=fold`.

After the first `?` come `key=value`, joined by `&`. In a value `%26` is `&` and `%25` is `%` (percent-encoding); all
else, a plus sign too, stands for itself.
"""

import os
from collections.abc import Collection
from urllib.parse import quote, unquote

from jaxcls.errors import UserError, did_you_mean

# Kind -> its options. Names of other kinds have none: a `?` in them is part of a path.
KEYS: dict[str, tuple[str, ...]] = {
    "table": ("path", "label", "labels", "separator", "split", "group", "weight", "root"),
    "names": ("label", "split"),
    "arrays": ("images", "labels", "classes"),
    "shards": ("image", "label", "classes"),
    "hf": ("image", "label", "split"),
    "clips": (),
    "records": (),
    "graphs": ("nodes", "edges"),
}
PATHS = ("folder", "unlabelled", *KEYS)  # kinds whose name goes on with a path
# Of files, for a bare path
SUFFIXES = dict.fromkeys((".csv", ".tsv", ".parquet", ".jsonl", ".ndjson"), "table") | {
    ".npz": "arrays",
    ".tar": "shards",
}


def split(name: str) -> tuple[str, dict[str, str]]:
    """(the name without options, option -> value). A name of a kind without options comes back whole.

    Raises:
      UserError: for an option without a key or a value, given twice, or that its kind does not know.
    """
    kind = name.partition("/")[0]
    if kind not in KEYS:
        return name, {}
    base, mark, rest = name.partition("?")
    options: dict[str, str] = {}
    for part in rest.split("&") if mark else ():
        key, equals, value = part.partition("=")
        if not (key and equals and value):
            raise UserError(
                f"{name}: {part!r} is no option such as label=breed; options are joined by &, and an & in a "
                "value is written %26."
            )
        if key in options:
            raise UserError(f"{name}: {key!r} is given twice; keep one.")
        options[key] = unquote(value)
    check(kind, options)
    return base, options


def check(kind: str, options: Collection[str]) -> None:
    """Raises UserError for an option that a kind of `KEYS` does not know."""
    for key in options:
        if key not in KEYS[kind]:
            hint = did_you_mean(key, KEYS[kind], 0.5)
            raise UserError(f"{kind}/... has no option {key!r}{hint}; it can have {', '.join(KEYS[kind])}.")


def joined(base: str, options: dict[str, str]) -> str:
    """The name that `split` takes apart."""
    parts = [f"{key}={quote(value, safe=_SAFE)}" for key, value in options.items()]
    return f"{base}?{'&'.join(parts)}" if parts else base


_SAFE = "".join(map(chr, range(32, 127))).replace("&", "").replace("%", "")


def path(name: str) -> str | None:
    """The path in a name such as `folder/pictures` or `table/FILE?label=breed`; None in names of other kinds."""
    kind, _, rest = name.partition("/")
    return split(name)[0].partition("/")[2] or None if kind in PATHS and rest else None


def of_path(text: str) -> str:
    """The name of a set that a bare path means: a table by its suffix, else a folder."""
    suffix = os.path.splitext(text.partition("?")[0])[1].lower()
    return f"{SUFFIXES.get(suffix, 'folder')}/{text}"
