"""The steps of a workdir: which there are, which one is meant, what is known of one. Plain JSON; nothing heavy."""

import math
import re
from pathlib import Path
from typing import Any, NamedTuple

from jaxcls.checkpoints import folds, items, meta
from jaxcls.checkpoints.meta import Meta
from jaxcls.errors import UserError
from jaxcls.types import PathLike

NUMBER = r"(0|[1-9][0-9]{0,17})"  # as Orbax names the folder of a step


class Step(NamedTuple):
    """One checkpoint: its number, its folder, whether it is finished and the best one, and its recorded metrics."""

    number: int
    path: Path
    finished: bool
    best: bool
    metrics: dict[str, Any]


def manifest_path(step_dir: Path) -> Path:
    """Where the SHA-256s of a step's files are kept."""
    return step_dir.parent.parent / "manifests" / f"{step_dir.name}.json"


def list_steps(workdir: PathLike) -> list[Step]:
    """The checkpoints of a workdir in order of their steps, those that Orbax did not finish included.

    The best one has the highest `score` among the finished ones (what Orbax was told to keep), the newest of equals.
    Metadata that cannot be read count as no metrics here; `read_meta` says what is wrong.

    Raises:
      UserError: if the workdir has no folder `checkpoints`, or it can't be looked at.
    """
    folder = Path(workdir).expanduser() / "checkpoints"
    folders = []
    try:
        if not folder.is_dir():
            folds.refuse(workdir)
            raise UserError(
                f"{workdir} holds no folder 'checkpoints': give the workdir of a run or the folder of one step"
            )
        for path in folder.iterdir():
            name = re.fullmatch(NUMBER + r"(\.orbax-checkpoint-tmp.*)?", path.name)
            if name and path.is_dir():
                finished = name[2] is None and manifest_path(path).is_file()
                folders.append((int(name[1]), path, finished))
    except OSError as error:
        raise UserError(f"{folder} can't be read: {error.strerror}") from error
    folders.sort()
    scores = {(_score(path), number) for number, path, finished in folders if finished}
    best = max((entry for entry in scores if entry[0] > -math.inf), default=(None, None))[1]
    return [Step(n, path, done, done and n == best, _metrics(path)) for n, path, done in folders]


def find_step(path: PathLike, step: int | None = None) -> Path:
    """The folder of a step. `path` is a workdir (its newest finished step, or the given one), or that folder itself.

    A given step is returned finished or not.

    Raises:
      UserError: if there is no such checkpoint.
    """
    path, of_step = _opened(path)
    if of_step:
        if step is not None and path.name != str(step):
            raise UserError(f"{path} is the folder of one step already: leave out the step {step}, or give the workdir")
        return path
    steps = [entry for entry in list_steps(path) if "." not in entry.path.name]
    if step is None:
        steps = [entry for entry in steps if entry.finished]
        if not steps:
            raise UserError(f"{path} holds no finished checkpoint; an unfinished one can be looked at by its step")
        return steps[-1].path
    by_number = {entry.number: entry.path for entry in steps}
    if step not in by_number:
        raise UserError(f"{path} holds no step {step}; it holds {', '.join(map(str, by_number)) or 'none'}")
    return by_number[step]


def find_workdir(path: PathLike) -> Path | None:
    """The workdir that a path means; None where it is the folder of one step.

    Raises:
      UserError: where there is no such folder.
    """
    folder, of_step = _opened(path)
    return None if of_step else folder


def best_step(path: PathLike) -> Path:
    """The folder of a workdir's best step, of the newest where none is best; or the step that `path` itself is.

    Raises:
      UserError: as `find_step`.
    """
    folder = find_step(path)
    if folder.parent.name != "checkpoints" or folder.resolve() == Path(path).expanduser().resolve():
        return folder
    return next((step.path for step in list_steps(folder.parents[1]) if step.best), folder)


def read_meta(step_dir: Path) -> Meta:
    """The JSON item of a step: config, classes, metrics, versions, what answers, ...

    Raises:
      UserError: if it is missing or damaged, or of a later version of the format.
    """
    path = step_dir / "meta" / "metadata"
    try:
        item = items.read(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; choose another step") from error
    except ValueError as error:
        raise UserError(f"{path}: is damaged, it {error}; choose another step") from error
    return meta.from_json(item, str(path))


def _opened(path: PathLike) -> tuple[Path, bool]:
    """(an existing folder, whether it is that of one step)."""
    try:
        folder = Path(path).expanduser().resolve()
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder: give the workdir of a run or the folder of one step")
        if folder.name == "checkpoints":
            folder = folder.parent
        return folder, (folder / "state").is_dir() or (folder / "meta").is_dir()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a zero byte, no home folder or links in a circle
        raise UserError(f"{str(path)[:100]} can't be opened: {getattr(error, 'strerror', None) or error}") from error


def _metrics(step_dir: Path) -> dict[str, Any]:
    try:
        return dict(read_meta(step_dir).metrics)
    except UserError:
        return {}


def _score(step_dir: Path) -> float:
    """What Orbax ranks the step by: `{"score": float}` in its item `metrics`; -inf without."""
    try:
        return float(items.read(step_dir / "metrics" / "metrics")["score"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return -math.inf
