"""The workdirs of a k-fold run: one in each folder `fold-1` .. `fold-k` of a workdir that says so in `folds.json`."""

from pathlib import Path

from jaxcls import files
from jaxcls.errors import UserError
from jaxcls.types import PathLike

FILE = "folds.json"
STEP = 0  # of what all folds say together, in eval/ and calibration/


def count(workdir: PathLike) -> int:
    """How many folds a workdir has; 0 where it is none of a k-fold run.

    Raises:
      UserError: where its file is damaged.
    """
    path = Path(workdir).expanduser() / FILE
    found = files.read_json(path, strict=True)
    if found is None:
        return 0
    folds = found.get("folds") if isinstance(found, dict) else None
    if not isinstance(folds, int) or not 2 <= folds <= 10**6:
        raise UserError(f"{path} does not say how many folds there are; put it back, or choose another --workdir.")
    return folds


def workdir(parent: PathLike, number: int) -> Path:
    """Of a fold, counted from 1."""
    return Path(parent).expanduser() / f"fold-{number}"


def workdirs(parent: PathLike) -> list[Path]:
    """Those of all folds; [] where there are none. Raises UserError as `count`."""
    return [workdir(parent, i + 1) for i in range(count(parent))]


def refuse(parent: PathLike) -> None:
    """Raises UserError for the workdir of a k-fold run, where something is done with one network."""
    if found := workdirs(parent):
        raise UserError(f"{parent} has {len(found)} folds, and this is done with one of them: {found[0]}")


def finished(parent: PathLike) -> list[Path]:
    """As `workdirs`, of a k-fold run that has come to its end.

    Raises:
      UserError: where folds are not done.
    """
    found = workdirs(parent)
    done = (files.read_json(Path(parent).expanduser() / FILE) or {}).get("done") if found else None
    if found and len(done or ()) < len(found):
        raise UserError(
            f"{parent} has {len(done or ())} of its {len(found)} folds: let it come to its end "
            f"(jaxcls train --workdir={parent}), or give the folder of a fold, {workdir(parent, 1)}."
        )
    return found
