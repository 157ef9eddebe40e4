"""What is kept of a network's channels, as plain values: `{"layer1.0/conv1": "f0a1", ..}`.

A value is a number in base 16 of as many bits as the group has units, the first unit the highest bit; 1 is kept. Groups
of which all is kept are left out.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxcls.errors import UserError, did_you_mean
from jaxcls.prune.groups import Group, Groups

Cuts = dict[str, dict[int, np.ndarray]]  # variable -> axis -> [size] bool: what stays


def names(groups: Sequence[Group]) -> list[str]:
    """A name for each group: the layer that makes its units; the second one of a layer is "conv1#2", and so on."""
    seen: dict[str, int] = {}
    out = []
    for group in groups:
        seen[group.name] = seen.get(group.name, 0) + 1
        out.append(group.name if seen[group.name] == 1 else f"{group.name}#{seen[group.name]}")
    return out


def lines(kept: Mapping[str, str]) -> tuple[str, ...]:
    """As config.model.kept has it: ("layer1.0/conv1=f0a1", ..)."""
    return tuple(f"{name}={bits}" for name, bits in sorted(kept.items()))


def of_lines(lines: Sequence[str]) -> dict[str, str]:
    """The inverse of `lines`. Raises UserError for what is none."""
    if strange := [line for line in lines if "=" not in str(line)]:
        raise UserError(f"config.model.kept: {strange[0]!r} is not GROUP=BITS, as `jaxcls prune` writes it")
    return dict(str(line).split("=", 1) for line in lines)


def to_config(groups: Sequence[Group], units: Sequence[np.ndarray]) -> dict[str, str]:
    """The config's form of the units that stay, per group."""
    out = {}
    for name, group, stay in zip(names(groups), groups, units, strict=True):
        if len(stay) < group.units:
            bits = np.zeros(group.units, bool)
            bits[stay] = True
            out[name] = _hex(bits)
    return out


def of_config(groups: Sequence[Group], kept: Mapping[str, str]) -> list[np.ndarray]:
    """Per group `[units]` bool, what stays. Raises UserError for what is none of the groups, or empties one."""
    known = dict(zip(names(groups), groups, strict=True))
    if strange := sorted(kept.keys() - known.keys()):
        hint = did_you_mean(strange[0], list(known))
        raise UserError(
            f"config.model.kept: the model has no channels called {strange[0]!r}{hint}; it was pruned as another "
            "model, or with other fields"
        )
    return [
        _bits(name, group, kept[name]) if name in kept else np.ones(group.units, bool) for name, group in known.items()
    ]


def cuts(groups: Groups, kept: Mapping[str, str]) -> Cuts:
    """What stays of every variable of which something goes. Raises UserError, as `of_config`."""
    found: Cuts = {}
    for group, stays in zip(groups.groups, of_config(groups.groups, kept), strict=True):
        for member in group.members if not stays.all() else ():
            axes = found.setdefault(member.name, {})
            keep = axes.setdefault(member.axis, np.ones(groups.shapes[member.name][member.axis], bool))
            keep[member.places[~stays].ravel()] = False
    return found


def gone(groups: Groups, found: Cuts) -> np.ndarray:
    """The roots of the units that cuts take away, in whatever program their network was traced.

    Raises:
      ValueError: where they would take a part of what goes together there.
    """
    roots = []
    for group in groups.groups:
        for member in group.members:
            keep = found.get(member.name, {}).get(member.axis)
            if keep is None:
                continue
            away = ~keep[member.places]
            if (away.any(1) != away.all(1)).any() or (group.why and away.any()):
                raise ValueError(f"{member.name} is cut through what goes together ({group.why or group.name})")
            roots.append(group.roots[away.all(1)])
    return np.unique(np.concatenate([np.zeros(0, int), *roots]))


def _hex(bits):
    number = int("".join("1" if bit else "0" for bit in bits), 2)
    return format(number, f"0{-(-len(bits) // 4)}x")


def _bits(name, group, text):
    try:
        number = int(text, 16)
    except (TypeError, ValueError):
        number = -1
    if not 0 < number < 1 << group.units:
        raise UserError(
            f"config.model.kept[{name!r}] must be a number in base 16 of {group.units} bits, not all 0, not {text!r}"
        )
    bits = np.array([bit == "1" for bit in format(number, f"0{group.units}b")])
    if group.why and not bits.all():
        raise UserError(f"config.model.kept: none of {name!r} may go: {group.why}")
    return bits
