"""Names, regular-expression masks and sizes of pytrees. A name is the path to a leaf, joined with "/"."""

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxcls.errors import UserError


def flatten_names(tree: Any) -> dict[str, Any]:
    """Every leaf by its name, in the tree's own order.

    Keys of dicts, fields of dataclasses and named tuples and positions in lists are joined with "/":
    `{"layer1.0": {"kernel": w}}` gives `{"layer1.0/kernel": w}`. A tree that is one leaf has the name "".
    `None` is no leaf.

    Raises:
      ValueError: if two leaves get the same name (a dict key that itself holds "/").
    """
    import jax

    named = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name in named:
            raise ValueError(f"two leaves of the tree are named {name!r}")
        named[name] = leaf
    return named


def mask(tree: Any, patterns: str | Sequence[str]) -> Any:
    """A tree of the same structure, True where any of the patterns is found (`re.search`) in the leaf's full name.

    Anchor with `^` and `$` where the whole name is meant; names of layers hold dots (`layer1\\.0/`).

    Raises:
      UserError: if a pattern is no regular expression.
    """
    import jax

    compiled = [_compile(pattern) for pattern in _as_list(patterns)]
    hits = [any(pattern.search(name) for pattern in compiled) for name in flatten_names(tree)]
    return jax.tree.unflatten(jax.tree.structure(tree), hits)


def require_matches(tree: Any, patterns: str | Sequence[str], what: str = "pattern") -> None:
    """Checks that every pattern is found in at least one name, so that a misspelt layer does not pass unnoticed.

    Args:
      tree: a pytree, or the dict that `flatten_names` made of it.
      patterns: regular expressions as for `mask`.
      what: how to call a pattern in the message, e.g. the config key it came from.

    Raises:
      UserError: with the nearest names, for the first pattern that matches nothing or is no regular expression.
    """
    names = list(flatten_names(tree))
    for pattern in _as_list(patterns):
        compiled = _compile(pattern)
        if not any(compiled.search(name) for name in names):
            near = ", ".join(nearest(pattern, names)) or "none: the tree is empty"
            raise UserError(f"{what} {pattern!r} matches no name; the nearest are {near}")


def nearest(pattern: str, names: Iterable[str], n: int = 3) -> list[str]:
    """The `n` names most like the pattern's literal text, best first, the shorter of equals first.

    A name is as like as its most similar run of path parts, so that "fc/kernal" finds "head/fc/kernel".
    """
    literal = re.sub(r"\\(.)|[\^$*+?()\[\]{}|]", lambda m: m.group(1) or "", pattern).strip("/.")
    depth = literal.count("/") + 1

    def rank(name: str) -> tuple[float, int]:
        parts = name.split("/")
        runs = ["/".join(parts[i : i + depth]) for i in range(max(1, len(parts) - depth + 1))]
        return -max(difflib.SequenceMatcher(None, literal, run).ratio() for run in [*runs, name]), len(name)

    return sorted(dict.fromkeys(names), key=rank)[:n]


def count(tree: Any) -> int:
    """The number of elements in all leaves: the parameter count, where the tree holds parameters."""
    return sum(math.prod(np.shape(leaf)) for leaf in flatten_names(tree).values())


def nbytes(tree: Any) -> int:
    """The bytes that all leaves take, by shape and dtype. Works on `jax.ShapeDtypeStruct` too: no array is read."""
    return sum(math.prod(np.shape(leaf)) * _dtype(leaf).itemsize for leaf in flatten_names(tree).values())


def _dtype(leaf: Any) -> Any:
    return leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype


def _as_list(patterns: str | Sequence[str]) -> list[str]:
    return [patterns] if isinstance(patterns, str) else list(patterns)


def _compile(pattern: str) -> re.Pattern:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError(f"{pattern!r} is no regular expression: {error}") from error
