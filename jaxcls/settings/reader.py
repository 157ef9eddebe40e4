"""A config held against the defaults: nothing misspelt, nothing of the wrong type, nothing without effect."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from ml_collections import ConfigDict

from jaxcls.defaults import current_key, default_config, flatten, out_of_range, unknown_key
from jaxcls.errors import UserError, did_you_mean

T = TypeVar("T")


def resolve(config: Mapping[str, Any]) -> ConfigDict:
    """The config with every default filled in, locked. Keys may have names of before (defaults.RENAMED).

    Raises:
      UserError: for a key that does not exist (the nearest is named) or a value of the wrong type.
    """
    full, problems = default_config(), []

    def merge(target, given, path):
        for old in given:
            name = current_key(f"{path}{old}")
            key = name.removeprefix(path)
            if key != old and key in given:
                continue  # the new name counts
            if key not in target:
                problems.append(unknown_key(name))
            elif name == "model.fields":
                with target[key].unlocked():
                    target[key].update(given[old])
            elif hasattr(target[key], "keys") and hasattr(given[old], "keys"):
                merge(target[key], given[old], f"{name}.")
            else:
                try:
                    if given[old] is None:
                        raise TypeError
                    target[key] = given[old]
                except TypeError:
                    problems.append(f"config.{name} is {given[old]!r}, but must be a {type(target[key]).__name__}.")

    merge(full, config, "")
    problems += out_of_range(full)
    if problems:
        raise UserError("\n".join(problems))
    return full


class Reader:
    """A config that remembers which keys were read, so that a setting without effect is noticed."""

    def __init__(self, config: ConfigDict, path: str = "config", read: set[str] | None = None):
        self.config, self._path = config, path
        self._read = set() if read is None else read

    def __getattr__(self, key: str) -> Any:
        value, path = self.config[key], f"{self._path}.{key}"
        if hasattr(value, "keys") and path != "config.model.fields":
            return Reader(value, path, self._read)
        self._read.add(path)
        return value

    def refuse_unread(self) -> None:
        """Raises UserError if a key that differs from its default was never read."""
        default, idle = dict(flatten(default_config())), []
        for path, value in flatten(self.config):
            if f"config.{path}" not in self._read and value != default.get(path):
                idle.append(f"config.{path}={value!r}")
        if idle:
            raise UserError(f"{', '.join(idle)} has no effect with the other settings of this run; remove it.")


def choose(what: str, value: T, options: Iterable[T]) -> T:
    """The value, if it is one of the options; else a UserError that names the nearest."""
    if value in options:
        return value
    names = [str(option) for option in options]
    hint = did_you_mean(str(value), names) or f"; it can be {', '.join(names)}."
    raise UserError(f"{what} is {value!r}{hint}")
