"""The evaluation that a stop has put off: its checkpoint is written anew, with the score, once that is known."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from jaxcls import parallel
from jaxcls.checkpoints import view

FOLDER = "replaced"  # in the workdir: the checkpoint of the stop, while the one with the score is written


class Left(Exception):
    """An evaluation was left since the run shall stop."""


@contextlib.contextmanager
def replacing(workdir: Path, step: int) -> Iterator[None]:
    """Within this context the step's checkpoint lies aside, so that another one of its number can be written.

    A run that is killed meanwhile gets it back by `put_back`: at each moment there is a whole one.
    """
    parallel.agree(lambda: _aside(workdir, step))
    yield
    parallel.agree(lambda: put_back(workdir))


def _aside(workdir, step):
    folder, aside = workdir / "checkpoints" / str(step), workdir / FOLDER
    aside.mkdir(exist_ok=True)
    folder.rename(aside / str(step))
    view.manifest_path(folder).rename(aside / f"{step}.json")


def put_back(workdir: Path) -> None:
    """Puts a checkpoint that lies aside back, unless the one in its place is sealed; that one's copy is deleted."""
    aside = workdir / FOLDER
    if not aside.is_dir():
        return
    for kept in aside.iterdir():
        if not kept.is_dir():
            continue
        folder = workdir / "checkpoints" / kept.name
        manifest = view.manifest_path(folder)
        if folder.is_dir() and manifest.is_file():
            continue
        if folder.is_dir():
            shutil.rmtree(folder)  # it was being written
        kept.rename(folder)
        if (aside / f"{kept.name}.json").is_file():
            (aside / f"{kept.name}.json").rename(manifest)
    shutil.rmtree(aside)
