"""A ladder: rungs with a config each, usually that of the rung before with one more line.

A ladder file has `get_ladder(arg="")`, which returns a list of

    ("name", config)              compared with the rung before
    ("name", config, "another")   compared with the rung of that name
    ("name", config, "")          stands apart: a teacher, say. It is compared with none, and none by itself with it

`config.distill.teacher = "rung:NAME"` is the run of that rung with the same seed, which must come earlier.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxcls.defaults import flatten
from jaxcls.errors import UserError
from jaxcls.settings import config_file
from jaxcls.settings.reader import resolve
from jaxcls.types import PathLike

TEACHER = "rung:"  # what a teacher that is trained by the ladder begins with


class Rung(NamedTuple):
    """One step of a ladder. `against` is the name of the rung that it is compared with; None for none."""

    name: str
    config: Any
    against: str | None

    @property
    def folder(self) -> str:
        """The name as that of a folder: "+ label smoothing" is label-smoothing."""
        return re.sub(r"[^\w.]+", "-", self.name).strip("-.")


def load(name: str, settings: Iterable[tuple[str, str]] = ()) -> list[Rung]:
    """The rungs of `FILE`, or of `FILE:arg` for `get_ladder("arg")`.

    Args:
      name: the file.
      settings: (path, text) pairs for `config_file.override`, which apply to every rung.

    Raises:
      UserError: no such file, a mistake in it, or rungs that no ladder can have.
    """
    entries, path = config_file.call(name, "get_ladder", flag=""), str(name).partition(":")[0]
    if not isinstance(entries, list) or not all(_is_entry(entry) for entry in entries) or not entries:
        raise UserError(f"{path}: get_ladder must return a list of (name, config) pairs; is 'return' missing?")
    rungs, before = [], None
    for label, config, *against in entries:
        config_file.override(config, settings)
        try:
            config = resolve(config)
        except UserError as error:
            raise UserError(f"{path}, rung {label!r}: {error}") from error
        rungs.append(Rung(label, config, (against[0] if against else before) or None))
        if against != [""]:
            before = label
    _check(rungs, path)
    return rungs


def changes(rung: Rung, rungs: Sequence[Rung]) -> dict[str, tuple[Any, Any]]:
    """Key -> (value of the rung that it is compared with, its own), for all that differ; {} for the first."""
    if rung.against is None:
        return {}
    return _difference(find(rungs, rung.against).config, rung.config)


def listed(rungs: list[Rung]) -> Iterator[str]:
    """Lines that show the rungs and what each changes."""
    for rung in rungs:
        yield rung.name + (f"  (against {rung.against})" if rung.against else "")
        for key, (old, new) in changes(rung, rungs).items():
            yield f"    {key}: {text(old)} -> {text(new)}"


def find(rungs: Sequence[Rung], name: str) -> Rung:
    """The rung of that name."""
    return next(rung for rung in rungs if rung.name == name)


def of_seed(rung: Rung, rungs: Sequence[Rung], seed: int, workdir: PathLike) -> tuple[Any, Path]:
    """(config, folder) of a rung's run with a seed."""
    config = rung.config.copy_and_resolve_references()
    config.seed = seed
    if teacher := _teacher(config):
        config.distill.teacher = str(run_folder(find(rungs, teacher), seed, workdir))
    return config, run_folder(rung, seed, workdir)


def run_folder(rung: Rung, seed: int | str, workdir: PathLike) -> Path:
    """Where a run is kept."""
    return Path(workdir) / rung.folder / f"seed-{seed}"


def trial(rung: Rung, rungs: Sequence[Rung]) -> Any:
    """The rung's config with an untrained teacher in place of one that the ladder has yet to train."""
    config = rung.config.copy_and_resolve_references()
    if teacher := _teacher(config):
        model = find(rungs, teacher).config.model
        config.distill.teacher, config.distill.model = "init", model.name
        config.distill.fields = tuple(f"{key}={value!r}" for key, value in model.fields.items())
    return config


def text(value: object) -> str:
    """A value of a config for people."""
    return repr(tuple(value) if isinstance(value, list) else value)


def _teacher(config):
    """The name of the rung that is a config's teacher, or ""."""
    teacher = config.distill.teacher
    return teacher.removeprefix(TEACHER) if teacher.startswith(TEACHER) else ""


def _is_entry(entry):
    if not isinstance(entry, tuple) or len(entry) not in (2, 3):
        return False
    name, config, *against = entry
    return isinstance(config, ConfigDict) and all(isinstance(word, str) for word in (name, *against))


def _difference(old, new):
    old, new = ({**dict(flatten(c)), **_fields(c)} for c in (old, new))
    return {
        key: (old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)
    }


def _fields(config):
    """The model's fields one by one, in place of all as one value."""
    return {"model.fields": None, **{f"model.fields.{key}": value for key, value in config.model.fields.items()}}


def _check(rungs, path):
    names = {}  # of folders
    for i, rung in enumerate(rungs):
        earlier = [other.name for other in rungs[:i]]
        if not rung.folder:
            raise UserError(f"{path}: a rung is called {rung.name!r}; its name must have a letter or a digit.")
        if rung.folder in names:
            raise UserError(f"{path}: two rungs are called {names[rung.folder]!r} and {rung.name!r}; rename one.")
        names[rung.folder] = rung.name
        if rung.against and rung.against not in earlier:
            raise UserError(f"{path}: {rung.name!r} is compared with {rung.against!r}, which is no rung before it.")
        if (teacher := _teacher(rung.config)) and teacher not in earlier:
            raise UserError(f"{path}: {rung.name!r} has the teacher {teacher!r}, which is no rung before it.")
        if rung.against and not changes(rung, rungs):
            raise UserError(f"{path}: {rung.name!r} has the same config as {rung.against!r}: a step changes something.")
