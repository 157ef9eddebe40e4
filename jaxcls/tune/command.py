"""The command line that trains with a trial's setting."""

import shlex
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxcls.defaults import flatten
from jaxcls.errors import UserError
from jaxcls.settings import config_file
from jaxcls.tune.space import Space, apply


def command(name: str, config: Mapping[str, Any], space: Space, params: Mapping[str, Any]) -> str:
    """`jaxcls train --config=NAME` with a setting for each key that differs from what the config of that name has.

    Args:
      name: of the config; where it can't be loaded any more, only the trial's own settings are written.
      config: that all trials share, as JSON has it, with the settings of the search's command line.
      space: of the search.
      params: of the trial.
    """
    shared = ConfigDict(config, convert_dict=True)
    trial = _flat(apply(space, params, shared))
    try:
        base = _flat(config_file.load(name))
    except UserError:
        base = _flat(shared)
    changed = {key: value for key, value in trial.items() if key not in base or _tuples(base[key]) != _tuples(value)}
    changed |= {key: trial.get(key, value) for key, value in params.items()}  # also where it is the config's own
    words = ["jaxcls", "train", f"--config={name}"]
    words += [f"--config.{key}={written(value)}" for key, value in changed.items()]
    return shlex.join([*words, "--workdir=runs/best"])


def written(value: Any) -> str:
    """A value as a command line has it: such that `config_file.override` reads it back."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return repr(_tuples(value))
    return value if isinstance(value, str) else repr(value)


def _tuples(value):
    """Lists, which JSON has, as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _flat(config):
    flat = {key: value for key, value in flatten(config) if not key.startswith("model.fields")}
    fields = {f"model.fields.{key}": value for key, value in config.model.fields.items()}
    return {key: tuple(x) if isinstance(x, list) else x for key, x in {**flat, **fields}.items()}  # JSON has lists
