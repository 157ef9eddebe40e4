"""How devices are arranged (a mesh of named axes), and over which axes arrays are cut (rules on parameters' names).

Of the arrays of a state a parameter goes by the first rule whose pattern is found in its name, and what bears a
parameter's name and shape (an optimiser's moment, an average, a momentum encoder) goes as that parameter. The rule
`fsdp` cuts an array along its largest axis that divides by the axis "data" of the mesh, as big_vision's sharding.py
does; ours leaves arrays of fewer than `LEAST` elements whole, and its axis "replica" holds copies.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxcls import pytree
from jaxcls.errors import UserError, did_you_mean

REPLICA, DATA = "replica", "data"  # the axes that batches are cut over
FSDP = "fsdp"
LEAST = 2**12  # elements from which on `fsdp` cuts; the biases and norms of a net are a few thousandths of it
WHOLE = ("", "-")  # what a rule calls an axis of an array that is not cut

Axes = tuple[str | None, ...]  # for each axis of an array the axis of the mesh that cuts it, from the first one on


class Rule(NamedTuple):
    """`pattern`: a regular expression on the names of parameters; `axes`: of each, None for the rule of fsdp."""

    pattern: str
    axes: Axes | None


def mesh_shape(entries: Sequence[Any], devices: int) -> dict[str, int]:
    """Axis -> how many devices lie along it, of config.parallel.mesh.

    Args:
      entries: (name, size) pairs, of which one size may be -1, for what is left.
      devices: how many there are.

    Raises:
      UserError: for what is no such pair, or a mesh that is not of so many devices.
    """
    shape: dict[str, int] = {}
    for entry in entries:
        pair = isinstance(entry, Sequence) and not isinstance(entry, str) and len(entry) == 2
        if not pair or not re.fullmatch(r"[A-Za-z_]\w*", str(entry[0])) or type(entry[1]) is not int:
            raise UserError(f"config.parallel.mesh: {entry!r} is no (name, size) pair, such as ('data', -1).")
        if entry[0] in shape:
            raise UserError(f"config.parallel.mesh names the axis {entry[0]!r} twice; give each a name of its own.")
        shape[entry[0]] = entry[1]
    if DATA not in shape:
        raise UserError("config.parallel.mesh has no axis 'data', which batches are cut over; add ('data', -1).")
    free, known = [name for name, size in shape.items() if size == -1], math.prod(s for s in shape.values() if s != -1)
    if len(free) > 1 or any(size < 1 and size != -1 for size in shape.values()):
        raise UserError(f"config.parallel.mesh {tuple(shape.items())}: sizes are from 1 on, and one of them may be -1.")
    if devices % known or (not free and devices != known):
        raise UserError(
            f"config.parallel.mesh {tuple(shape.items())} makes {'a multiple of ' if free else ''}{known} devices, but "
            f"there are {devices}; give one axis the size -1, for what is left."
        )
    return shape | dict.fromkeys(free, devices // known)


def rules(entries: Sequence[Any], mesh: Mapping[str, int]) -> tuple[Rule, ...]:
    """The rules of config.parallel.shard.

    Args:
      entries: (pattern, axes) pairs, whose axes are a text such as "-, model" (the second axis over "model") or "fsdp";
        the word "fsdp" alone is ("", "fsdp").
      mesh: of `mesh_shape`.

    Raises:
      UserError: for what is no rule, or names no axis of the mesh.
    """
    found = []
    for entry in entries:
        pattern, text = ("", FSDP) if entry == FSDP else entry if _pair(entry) else ("", "")
        if not text and not pattern:
            raise UserError(
                f"config.parallel.shard: {str(entry)[:80]!r} is no rule; it can be 'fsdp' or a pair such as "
                "('head/kernel', '-, model')."
            )
        try:
            re.compile(pattern)
        except re.error as error:
            raise UserError(
                f"config.parallel.shard: {pattern[:80]!r} is no regular expression ({error}); mend it."
            ) from error
        found.append(Rule(pattern, None if text.strip() == FSDP else _axes(text, mesh)))
    return tuple(found)


def _pair(entry):
    return isinstance(entry, Sequence) and len(entry) == 2 and all(isinstance(part, str) for part in entry)


def _axes(text, mesh):
    """The axes that a rule names."""
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in (*WHOLE, *mesh):
            hint = did_you_mean(word, [*mesh, FSDP]) or "; '-' is an axis that is not cut."
            raise UserError(f"config.parallel.shard: {word!r} is no axis of config.parallel.mesh {tuple(mesh)}{hint}")
    named = [word for word in words if word not in WHOLE]
    if len(set(named)) < len(named):
        raise UserError(f"config.parallel.shard: {text!r} names an axis of the mesh twice; an array has each once.")
    return tuple(None if word in WHOLE else word for word in words)


def cutting(shape: Mapping[str, int]) -> tuple[str, ...]:
    """The axes of a mesh that a batch is cut over."""
    return tuple(axis for axis in shape if axis in (REPLICA, DATA))


def shares_of(shape: Mapping[str, int], processes: Sequence[int], process: int) -> set[int]:
    """The numbers of the shares of a batch that a process has; devices that differ along other axes have the same.

    `processes`: of each device of the mesh, in its order.
    """
    cut = cutting(shape)
    number = np.arange(math.prod(shape[axis] for axis in cut)).reshape([shape[a] if a in cut else 1 for a in shape])
    shares = np.broadcast_to(number, tuple(shape.values())).ravel()
    return {int(share) for share, own in zip(shares, processes, strict=True) if own == process}


def check_rows(shape: Mapping[str, int], processes: Sequence[int]) -> None:
    """What each process has of a batch is one block of it. Raises UserError."""
    for process in sorted(set(processes)):
        own = shares_of(shape, processes, process)
        if len(own) != max(own) + 1 - min(own):
            raise UserError(
                f"config.parallel.mesh {tuple(shape.items())}: process {process} would have parts of a batch that are "
                "no neighbours; put the axis 'data' before the others."
            )


def check(params: Any, of: Sequence[Rule], mesh: Mapping[str, int]) -> None:
    """Every rule names a parameter (a tree of arrays or shapes), and cuts those that it names evenly.

    Raises:
      UserError: where that is not so.
    """
    named = pytree.flatten_names(params)
    for rule in of:
        pytree.require_matches(named, rule.pattern, "config.parallel.shard")
    for name, leaf in named.items():
        rule = _rule(name, of)
        if rule is None or rule.axes is None or _fits(leaf.shape, rule.axes, mesh):
            continue
        raise UserError(
            f"config.parallel.shard: {','.join(axis or '-' for axis in rule.axes)} of the rule {rule.pattern!r} can't "
            f"cut {name} {tuple(leaf.shape)} on the mesh {tuple(mesh.items())}; give it a rule of its own before."
        )


def axes(tree: Any, of: Sequence[Rule], mesh: Mapping[str, int]) -> dict[str, Axes]:
    """Name -> axes of every leaf of a tree (arrays or shapes) that holds parameters under the key or field "params"."""
    named = pytree.flatten_names(tree)
    shapes = {own: tuple(leaf.shape) for name, leaf in named.items() if (own := _own(name)) is not None}
    return {name: _of_leaf(name, tuple(leaf.shape), shapes, of, mesh) for name, leaf in named.items()}


def _own(name):
    """The name of a parameter, of the name of a leaf; None where it is none."""
    before, found, own = f"/{name}".partition("/params/")
    return own if found else None


def _of_leaf(name, shape, shapes, of, mesh):
    parts = name.split("/")
    suffixes = ("/".join(parts[i:]) for i in range(len(parts)))
    own = next((suffix for suffix in suffixes if shapes.get(suffix) == shape), None)
    rule = _rule(own, of) if own is not None else next((rule for rule in of if not rule.pattern), None)
    if rule is None:
        return ()
    if rule.axes is None:
        return _largest(shape, mesh[DATA])
    return rule.axes if _fits(shape, rule.axes, mesh) else ()


def _rule(name, of):
    return next((rule for rule in of if re.search(rule.pattern, name)), None)


def _fits(shape, names, mesh):
    """Whether an array can be cut so."""
    return len(names) <= len(shape) and all(n is None or s % mesh[n] == 0 for s, n in zip(shape, names, strict=False))


def _largest(shape, parts):
    """The axes of the rule of fsdp: of equally large ones the last is cut."""
    fitting = [i for i, size in enumerate(shape) if size % parts == 0]
    if math.prod(shape) < LEAST or not fitting:
        return ()
    best = max(fitting, key=lambda i: (shape[i], i))
    return (*[None] * best, DATA)
