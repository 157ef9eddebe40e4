"""The nets of an architecture search that are trained from scratch: the choice, random ones, a known one."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxcls.defaults import default_config, flatten
from jaxcls.nas.space import MODEL, Choice, Space
from jaxcls.settings.reader import resolve

FOUND, SEARCHED, RANDOM, KNOWN = "found", "searched", "random", "known"  # kinds of nets
SEARCHES = ("random", "evolution")  # that ask the shared weights
TRIES = 20_000  # draws for the random nets; a space of no more choices is gone through in random order


@dataclasses.dataclass(frozen=True)
class Net:
    """A net that is trained with several seeds. `name`: of its folder; `kind`: FOUND, SEARCHED, RANDOM or KNOWN."""

    name: str
    kind: str
    model: str
    fields: Mapping[str, Any]
    choice: Choice = ()

    def config(self, config: Mapping[str, Any], seed: int) -> ConfigDict:
        """The config that trains it: the search's, without the search."""
        made = resolve(config)
        section = config["nas"]
        made.nas = default_config().nas
        made.duration, made.seed = section["retrain"] or made.duration, seed
        made.model.name = self.model
        with made.model.unlocked():
            made.model.fields = ConfigDict(dict(self.fields))
        return made


def of_choice(space: Space, choice: Choice, name: str = FOUND, kind: str = FOUND) -> Net:
    """The net of a choice."""
    return Net(name, kind, MODEL, space.fields(choice), choice)


def by_searches(space: Space, found: Mapping[str, Any], besides: Sequence[Choice]) -> list[Net]:
    """The nets that other searches took (`shared.searched`), but for those that are there already."""
    blocks = {space.blocks(choice) for choice in besides}
    nets = []
    for name in SEARCHES:
        choice = tuple(found[name]["choice"]) if name in found else ()
        if choice and space.blocks(choice) not in blocks:
            blocks.add(space.blocks(choice))
            nets.append(of_choice(space, choice, f"{name}-search", SEARCHED))
    return nets


def known(model: str) -> Net:
    """A model of the registry, as it is."""
    return Net(model, KNOWN, model, {})


def random_nets(space: Space, number: int, most: int, seed: int, *, besides: Sequence[Choice] = ()) -> list[Net]:
    """Different nets of the space with no more multiply-adds than `most`, each choice as likely as any other.

    Fewer where the space, but for `besides`, has no more of them (or they are too rare to be drawn).
    """
    found = {space.blocks(choice) for choice in besides}
    nets: list[Net] = []
    for choice in _drawn(space, np.random.default_rng([seed, 0x4E6574])):
        if len(nets) == number:
            break
        blocks = space.blocks(choice)
        if blocks not in found and space.macs(choice) <= most:
            found.add(blocks)
            nets.append(of_choice(space, choice, f"{RANDOM}-{len(nets) + 1}", RANDOM))
    return nets


def _drawn(space: Space, rng: np.random.Generator) -> Iterator[Choice]:
    if space.size <= TRIES:
        for number in rng.permutation(space.size):
            yield tuple(map(int, np.unravel_index(number, space.sizes)))
        return
    for _ in range(TRIES):
        yield tuple(int(rng.integers(n)) for n in space.sizes)


def as_file(config: Mapping[str, Any], docstring: str) -> str:
    """A config file that has what differs from the defaults, for `jaxcls train --config=FILE`."""
    default = dict(flatten(default_config()))
    lines = [f'"""{docstring}"""', "", "from jaxcls.defaults import default_config", "", "", 'def get_config(arg=""):']
    lines += ['    """The config; it takes no argument."""', "    del arg", "    config = default_config()"]
    for key, value in flatten(resolve(config)):
        value = value.to_dict() if hasattr(value, "to_dict") else value
        usual = default[key].to_dict() if hasattr(default[key], "to_dict") else default[key]
        if _plain(value) != _plain(usual):
            lines.append(f"    config.{key} = {value!r}")
    return "\n".join([*lines, "    return config", ""])


def _plain(value):
    return json.loads(json.dumps(value))
