"""A config held against the defaults: nothing misspelt, nothing of the wrong type, nothing without effect."""

import difflib

from jaxcls.defaults import default_config, flatten, out_of_range, unknown_key
from jaxcls.errors import UserError


def resolve(config):
    """The config with every default filled in, locked.

    Raises:
      UserError: for a key that does not exist (the nearest is named) or a value of the wrong type.
    """
    full, problems = default_config(), []

    def merge(target, given, path):
        for key in given:
            name = f"{path}{key}"
            if key not in target:
                problems.append(unknown_key(name))
            elif name == "model.fields":
                with target[key].unlocked():
                    target[key].update(given[key])
            elif hasattr(target[key], "keys") and hasattr(given[key], "keys"):
                merge(target[key], given[key], f"{name}.")
            else:
                try:
                    if given[key] is None:
                        raise TypeError
                    target[key] = given[key]
                except TypeError:
                    problems.append(f"config.{name} is {given[key]!r}, but must be a {type(target[key]).__name__}.")

    merge(full, config, "")
    problems += out_of_range(full)
    if problems:
        raise UserError("\n".join(problems))
    return full


class Reader:
    """A config that remembers which keys were read, so that a setting without effect is noticed."""

    def __init__(self, config, path="config", read=None):
        self.config, self._path = config, path
        self._read = set() if read is None else read

    def __getattr__(self, key):
        value, path = self.config[key], f"{self._path}.{key}"
        if hasattr(value, "keys") and path != "config.model.fields":
            return Reader(value, path, self._read)
        self._read.add(path)
        return value

    def refuse_unread(self):
        """Raises UserError if a key that differs from its default was never read."""
        default, idle = dict(flatten(default_config())), []
        for path, value in flatten(self.config):
            if f"config.{path}" not in self._read and value != default.get(path):
                idle.append(f"config.{path}={value!r}")
        if idle:
            raise UserError(f"{', '.join(idle)} has no effect with the other settings of this run; remove it.")


def choose(what, value, options):
    """The value, if it is one of the options; else a UserError that names the nearest."""
    if value in options:
        return value
    near = difflib.get_close_matches(str(value), list(options), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it can be {', '.join(options)}."
    raise UserError(f"{what} is {value!r}; {hint}")
