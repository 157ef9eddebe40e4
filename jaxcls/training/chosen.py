"""A recipe that is chosen for a set of pictures: as a config, as lines that tell it, and as a config file to edit."""

import contextlib
import json
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from jaxcls import files
from jaxcls.defaults import current_key, default_config, flatten
from jaxcls.errors import UserError
from jaxcls.optim import schedules
from jaxcls.settings import config_file
from jaxcls.text import printable
from jaxcls.training import choose
from jaxcls.training.choose import Choice, Facts
from jaxcls.training.facts import facts

FILE = "config.py"  # in the workdir
GIVEN = "given"  # the reason of what the user has set
# What is set -> what is left alone then, by what keys begin with: the two would not fit.
TOGETHER = {
    "optim.name": ("optim.", "schedule.peak", "schedule.per_batch"),
    "schedule.name": ("schedule.warmup",),
    "data.normalize": ("data.mean", "data.std"),
    "data.mean": ("data.normalize", "data.std"),
    "loss.name": ("loss.",),
    "batch_size": ("schedule.per_batch", "parallel.devices"),
    "accumulate": ("auto_batch",),
}
WIDTH = 120  # of a line of the file


class Chosen(NamedTuple):
    """A recipe for a set.

    Attributes:
      config: with the defaults.
      facts: it was chosen by.
      choices: its settings, the user's among them.
    """

    config: ConfigDict
    facts: Facts
    choices: tuple[Choice, ...]

    def lines(self) -> list[str]:
        """What was chosen, and why."""
        found = [f"chosen for {printable(self.facts.data)}: {choose.told(self.facts)}"]
        shown = [(f"config.{x.key}={_short(x.value)}", x.reason) for x in self.choices if x.key != "data.name"]
        wide = max(len(setting) for setting, _ in shown)
        found += [f"  {setting:<{min(wide, 60)}}  {reason}" for setting, reason in shown]
        return [*found, *(f"note: {line}" for line in choose.advice(self.facts))]


def chosen(settings: Sequence[tuple[str, str]]) -> Chosen:
    """The recipe for the set that `data.name` of the settings names.

    Args:
      settings: (key, text) pairs as of `config_file.override`; they count before what is chosen.

    Raises:
      UserError: for a mistake in them, data that can't be opened or has no labels, weights that are not there.
    """
    config = default_config()
    config_file.override(config, settings)
    given = list(dict.fromkeys(current_key(key) for key, _ in settings))
    if "optim.name" in given and "schedule.peak" not in given:
        raise UserError(
            "config.optim.name is set, and no recipe knows its rate; add --config.schedule.peak=0.001 or so."
        )
    found = facts(config, given)
    closed = tuple(start for key in given for start in (key, *TOGETHER.get(key, ())))
    own = [x for x in choose.choices(found) if not x.key.startswith(closed)]
    values = dict(flatten(config))
    fields = {key for key in given if key.startswith("model.fields.")}
    told = [Choice(key, values[key], GIVEN) for key in given if key not in fields]
    if fields:
        own = [x for x in own if x.key != "model.fields"]
        told.append(Choice("model.fields", config.model.fields.to_dict(), GIVEN))
    recipe = (*_long_enough(own, told, found), *told)
    for choice in recipe:
        _set(config, choice.key, choice.value)
    return Chosen(config, found, recipe)


def text(chosen: Chosen, workdir: str | Path) -> str:
    """The recipe as a config file."""
    head = f"Chosen (by jaxcls) for {chosen.facts.data}: {choose.told(chosen.facts)}."
    lines = textwrap.wrap(head.replace("\\", "/").replace('"', "'"), WIDTH - 3)
    lines[0] = f'"""{lines[0]}'
    lines += ["", f"    jaxcls train --config={Path(workdir) / FILE} --workdir=ANOTHER".replace("\\", "/"), '"""', ""]
    lines += ["from jaxcls.defaults import default_config", "", "", 'def get_config(arg=""):']
    lines += ['    """The config, without an argument."""', "    config = default_config()"]
    for choice in chosen.choices:
        lines += _assignment(choice)
    return "\n".join([*lines, "    return config", ""])


def _long_enough(own, told, facts):
    """The choices, without a warm-up where the user's duration has not a step for it."""
    values = {x.key: x.value for x in (*own, *told)}
    each = max(1, facts.pictures // max(1, values["batch_size"]))
    steps = schedules.steps(values["duration"], steps_per_epoch=each, what="config.duration")
    return own if steps >= 20 else [x for x in own if x.key != "schedule.warmup"]


@contextlib.contextmanager
def kept(chosen: Chosen, workdir: str | Path, *, writes: bool) -> Iterator[Path]:
    """Within, the config file lies in the workdir; afterwards, too, unless no run began there.

    Raises:
      UserError: where one lies there already: it may have been edited.
    """
    path = Path(workdir) / FILE
    if not writes:
        yield path
        return
    if path.exists():
        raise UserError(f"{path} is there, but no run; train with it (--config={path}), or delete it.")
    there = path.parent.is_dir()
    with files.replacing(path, "give another --workdir") as new:
        new.write_text(text(chosen, workdir), encoding="utf-8")
    try:
        yield path
    finally:
        if not (path.parent / "config.json").exists():
            path.unlink(missing_ok=True)
            if not there:
                with contextlib.suppress(OSError):
                    path.parent.rmdir()


def _assignment(choice):
    """Lines of the file for a setting, its reason behind it or above."""
    setting = f"    config.{choice.key} = {_literal(choice.value)}"
    remark = f"  # {' '.join(choice.reason.split())}"
    return [setting + remark] if len(setting + remark) <= WIDTH else [f"    {remark.strip()}", setting]


def _literal(value):
    """As Python, texts in double quotes."""
    if isinstance(value, tuple):
        return f"({''.join(f'{_literal(x)}, ' for x in value)[: -1 if len(value) == 1 else -2]})" if value else "()"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(x)}" for key, x in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _short(value):
    return value if isinstance(value, str) and value else _literal(value)


def _set(config, path, value):
    *sections, key = path.split(".")
    node = config
    for section in sections:
        node = node[section]
    with config.unlocked(), node.ignore_type():
        node[key] = value
