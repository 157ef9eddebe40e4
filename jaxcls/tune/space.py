"""The space of a search: which config keys are varied, and how.

    "schedule.peak=log(1e-3,1); batch_size=pow2(32,512); optim.momentum=linear(0.5,0.99) if optim.name=sgd"

A file of a space has `get_space(arg="")`, which returns such a text, or a list of them with an entry each. The entry
`rate_per_batch=256` sets `schedule.per_batch` of every trial: its peak is for a batch of 256, and grows in proportion.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from jaxcls.defaults import current_key, default_config, flatten
from jaxcls.errors import Problems, UserError, did_you_mean
from jaxcls.settings import config_file, shipped
from jaxcls.settings.ranges import out_of_range
from jaxcls.tune.dimension import CONTINUOUS, KINDS, Dimension
from jaxcls.tune.notation import Value, enclosed, read, shown, split

if TYPE_CHECKING:
    from optuna.trial import Trial

PER_BATCH = "rate_per_batch"
SHIPPED = "search/"  # where those lie that come with jaxcls
LIKE = "'schedule.peak=log(1e-3, 1); batch_size=pow2(32, 512)'"
MOST = 100_000  # points of a grid
Params = dict[str, Value]  # key -> value, of a trial


@dataclasses.dataclass(frozen=True)
class Space:
    """Dimensions, in the order in which they are drawn.

    Attributes:
      dimensions: one a key; a condition is on a choice before it.
      rate_per_batch: `schedule.per_batch` of every trial; 0: as the config has it.

    Raises:
      UserError: for none, one twice, or a condition that can never be met.
    """

    dimensions: tuple[Dimension, ...]
    rate_per_batch: int = 0

    def __post_init__(self):
        if self.rate_per_batch < 0:
            raise UserError(f"{PER_BATCH} is {self.rate_per_batch}; it must be at least 1, such as 256.")
        if not self.dimensions:
            raise UserError(f"the space is empty; write one like {LIKE}.")
        before: dict[str, Dimension] = {}
        for dimension in self.dimensions:
            if dimension.key in before:
                raise UserError(f"the space has {dimension.key} twice; leave one of them off.")
            if dimension.when:
                _check_condition(dimension, before, [d.key for d in self.dimensions])
            before[dimension.key] = dimension
        if self.rate_per_batch and "schedule.per_batch" in before:
            raise UserError(f"the space has schedule.per_batch, and {PER_BATCH} sets it, too; leave one of them off.")

    def __str__(self) -> str:
        first = [f"{PER_BATCH}={self.rate_per_batch}"] if self.rate_per_batch else []
        return "; ".join(first + [str(dimension) for dimension in self.dimensions])

    def active(self, dimension: Dimension, params: Mapping[str, Any]) -> bool:
        """Whether a dimension counts with what was drawn before it."""
        return dimension.when is None or params.get(dimension.when[0]) == dimension.when[1]

    def values(self, stored: Mapping[str, Any]) -> Params:
        """Key -> value from what Optuna keeps (`FrozenTrial.params`); what is not there is left out."""
        return {d.key: d.value(stored[d.name]) for d in self.dimensions if d.name in stored}

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"dimensions": [str(dimension) for dimension in self.dimensions], PER_BATCH: self.rate_per_batch}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Space":
        """The space of `to_json`."""
        return cls(tuple(map(_dimension, stored["dimensions"])), stored[PER_BATCH])


def parse(text: str, rate_per_batch: int = 0) -> Space:
    """The space of a text: entries with ";" or the ends of lines between them.

    Raises:
      UserError: for a text that is none, in one line.
    """
    return _of_entries(split(text.replace("\n", ";"), ";"), rate_per_batch)


def load(name: str, rate_per_batch: int = 0) -> Space:
    """The space of a text, of a file (`x.py`, `x.py:arg`) or of one that comes with jaxcls (`search/lenet5_digits`).

    Args:
      name: which.
      rate_per_batch: in place of the space's own; 0: its own.

    Raises:
      UserError: no such file, a mistake in it (with its line), or no space.
    """
    file, arg = config_file.split(name)
    if not Path(file).is_file():
        if "=" in name or not name.strip():
            return parse(name, rate_per_batch)
        if known := shipped.find(f"{SHIPPED}{file.removeprefix('configs/').removeprefix(SHIPPED)}"):
            name = str(known) if arg is None else f"{known}:{arg}"
    returned = config_file.call(name, "get_space", flag="--space=")
    entries = [returned] if isinstance(returned, str) else returned
    if not isinstance(entries, list | tuple) or not all(isinstance(entry, str) for entry in entries):
        raise UserError(f"{file}: get_space must return texts such as [{LIKE}]; is 'return' missing?")
    try:
        return parse(";".join(entries), rate_per_batch)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def check(space: Space, config: ConfigDict) -> None:
    """Tries the ends and choices of every dimension on a config; nothing is built.

    Raises:
      UserError: with a line for each key that does not exist and each dimension that a config cannot take.
    """
    problems = Problems()
    known = {**dict(flatten(default_config())), **{f"model.fields.{k}": v for k, v in config.model.fields.items()}}
    for dimension in space.dimensions:
        with problems.noted():
            _check_kind(dimension, known.get(dimension.key))
            for value in _ends(dimension):
                tried = apply(space, {dimension.key: value}, config)
                if lines := [line for line in out_of_range(tried) if line not in out_of_range(config)]:
                    raise UserError(f"the space has {dimension}, but {lines[0]}")
    problems.refuse()


def apply(space: Space, params: Mapping[str, Any], config: ConfigDict) -> ConfigDict:
    """A copy of a config with the values of a trial.

    Raises:
      UserError: for a value that its key cannot have.
    """
    config = config.copy_and_resolve_references()
    config_file.override(config, [(key, str(value)) for key, value in params.items()])
    if space.rate_per_batch:
        config.schedule.per_batch = space.rate_per_batch
    return config


def extremes(space: Space) -> Iterator[tuple[Dimension, Params]]:
    """(dimension, parameters) for each end and choice of every dimension, with the choices that it depends on."""
    by_key = {dimension.key: dimension for dimension in space.dimensions}
    for dimension in space.dimensions:
        needed, when = {}, dimension.when
        while when is not None:
            needed[when[0]] = when[1]
            when = by_key[when[0]].when
        for value in _ends(dimension):
            yield dimension, {**needed, dimension.key: value}


def draw(space: Space, trial: "Trial") -> Params:
    """Key -> value of a trial, drawn by its study's sampler; dimensions that don't count are left out."""
    params: Params = {}
    for dimension in space.dimensions:
        if space.active(dimension, params):
            params[dimension.key] = dimension.suggest(trial)
    return params


def grid(space: Space, points: int) -> list[Params]:
    """The points of a grid, the last dimension fastest.

    Args:
      space: the space.
      points: values of each continuous dimension, both ends included; of the others it has all.

    Raises:
      UserError: where there are none of a continuous dimension, or more than MOST in all.
    """
    continuous = [dimension.key for dimension in space.dimensions if dimension.kind in CONTINUOUS]
    if continuous and points < 1:
        raise UserError(f"a grid of {continuous[0]} needs a number of points, at least 1: --points 5")
    found: list[Params] = [{}]
    for dimension in space.dimensions:
        active = [space.active(dimension, params) for params in found]
        count = dimension.count(points)
        if sum(count if counts else 1 for counts in active) > MOST:
            raise UserError(f"the grid has more than {MOST:,} points; give fewer --points, or another sampler.")
        values = dimension.values(points)
        found = [
            {**params, **more}
            for params, counts in zip(found, active, strict=True)
            for more in ([{dimension.key: value} for value in values] if counts else [{}])
        ]
    return found


def _of_entries(entries: Iterable[str], rate_per_batch: int) -> Space:
    dimensions, own = [], 0
    for entry in filter(None, map(str.strip, entries)):
        key, _, rest = entry.partition("=")
        if key.strip() == PER_BATCH:
            own = _whole(entry, rest)
        else:
            dimensions.append(_dimension(entry))
    return Space(tuple(dimensions), rate_per_batch or own)


def _whole(entry, text):
    value = read(text)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{entry!r}: {PER_BATCH} must be a whole number, at least 1, such as {PER_BATCH}=256.")
    return value


def _dimension(entry: str) -> Dimension:
    """The dimension of `KEY=KIND(ARGUMENTS)` or `KEY=KIND(ARGUMENTS) if KEY=VALUE`."""
    key, equals, rest = entry.partition("=")
    kind, opened, rest = rest.partition("(")
    inside, closed, after = enclosed(rest) if opened else ("", "", "")
    key, kind, after = key.strip(), kind.strip(), after.strip()
    if not (key and equals and closed) or (after and not after.startswith("if ")) or any(c in key for c in " ,'\""):
        raise UserError(f"the space has {_short(entry)}, which can't be read; write it like {LIKE}.")
    if kind not in KINDS:
        hint = did_you_mean(kind, KINDS) or f"; there are {', '.join(KINDS.values())}."
        raise UserError(f"the space has {_short(entry)}: there is no {kind!r}{hint}")
    when = None
    if after:
        parent, equals, value = after.removeprefix("if ").partition("=")
        if not (equals and parent.strip() and value.strip()):
            raise UserError(f"the space has {_short(entry)}; a condition is written like 'if optim.name=sgd'.")
        when = current_key(parent.strip()), read(value)
    arguments = split(inside, ",")
    if arguments != [""] and "" in [argument.strip() for argument in arguments]:
        raise UserError(f"the space has {_short(entry)}, where a value is missing between two commas.")
    return Dimension(current_key(key), kind, tuple(map(read, arguments)) if inside.strip() else (), when)


def _short(entry):
    entry = " ".join(entry.split())
    return repr(entry if len(entry) <= 80 else f"{entry[:77]}...")


def _check_condition(dimension, before, keys):
    key, value = dimension.when
    if key not in before:
        later = "comes after it; put it first" if key in keys else f"is not in the space{did_you_mean(key, before)}"
        raise UserError(f"the space has {dimension}, but {key} {later}")
    if before[key].kind != "choice":
        raise UserError(f"the space has {dimension}, but {key} is no choice: {before[key]}")
    if not any(type(value) is type(known) and value == known for known in before[key].args):
        hint = did_you_mean(shown(value), list(map(shown, before[key].args)))
        raise UserError(f"the space has {dimension}, but {key} is never {shown(value)}{hint or f': {before[key]}'}")


def _check_kind(dimension, default):
    """Refuses numbers where the key takes none, and fractions where it takes whole ones."""
    if dimension.kind == "choice" or default is None:
        return
    if isinstance(default, bool):
        raise UserError(f"the space has {dimension}; write {dimension.key}=choice(true, false).")
    if not isinstance(default, int | float):
        raise UserError(f"the space has {dimension}, but {dimension.key} is no number: take choice(...) of texts.")
    if isinstance(default, int) and dimension.kind in CONTINUOUS:
        raise UserError(f"the space has {dimension}, but {dimension.key} is a whole number: take int or pow2.")


def _ends(dimension):
    """The values that stand for a dimension: its choices, or its ends."""
    values = dimension.args if dimension.kind == "choice" else dimension.args[:2]
    return [float(value) if dimension.kind in CONTINUOUS else value for value in values]
