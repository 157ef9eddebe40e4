"""A config held against the defaults: nothing misspelt, nothing of the wrong type, nothing without effect."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from ml_collections import ConfigDict

from jaxcls.defaults import current_key, current_value, default_config, flatten
from jaxcls.errors import UserError, did_you_mean, listed
from jaxcls.settings.hints import unknown_key
from jaxcls.settings.ranges import out_of_range

T = TypeVar("T")


def resolve(config: Mapping[str, Any]) -> ConfigDict:
    """The config with every default filled in, locked. Keys may have names of before (defaults.RENAMED).

    Raises:
      UserError: for a key that does not exist (the nearest is named) or a value of the wrong type.
    """
    full, problems = default_config(), []

    def merge(target, given, path):
        for old in given:
            name, value = current_key(f"{path}{old}"), current_value(f"{path}{old}", given[old])
            key = name.removeprefix(path)
            if key != old and key in given:
                continue  # the new name counts
            if key not in target:
                problems.append(unknown_key(name))
            elif name == "model.fields" and hasattr(value, "keys"):
                with target[key].unlocked():
                    target[key].update(value)
            elif hasattr(target[key], "keys") and hasattr(value, "keys"):
                merge(target[key], value, f"{name}.")
            else:
                try:
                    if value is None:
                        raise TypeError
                    target[key] = value
                except TypeError:
                    kind = "section" if hasattr(target[key], "keys") else type(target[key]).__name__
                    problems.append(f"config.{name} is {short(value)}, but must be a {kind}.")

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
                idle.append(f"config.{path}={short(value)}")
        if idle:
            raise UserError(f"{listed(idle)} has no effect with the other settings of this run; remove it.")


def choose(what: str, value: T, options: Iterable[T]) -> T:
    """The value, if it is one of the options; else a UserError that names the nearest."""
    if value in options:
        return value
    names = [str(option) for option in options]
    hint = did_you_mean(str(value), names) or f"; it can be {listed(names)}."
    raise UserError(f"{what} is {short(value)}{hint}")


def short(value: Any) -> str:
    """A value for a message of one line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}...{text[-15:]}"
