"""Manifests: what a step holds, sealed with the SHA-256 of each file, and whether it is still so.

A digest tells of what happens to files by accident: damage, loss, a copy that is not whole, steps that were swapped. It
is no signature: whoever rewrites a file can rewrite the manifest beside it, and nothing here would notice.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxcls.checkpoints import items, names
from jaxcls.checkpoints.steps import NUMBER, list_steps, manifest_path
from jaxcls.errors import UserError
from jaxcls.types import PathLike

REMOVED = "removed"  # in the folder `checkpoints`: a step goes there, at once and whole, before its files are deleted


def write_manifest(folder: Path) -> None:
    """Seals a committed step: its number, folders and the SHA-256 of each of its files, in `manifests/<step>.json`.

    Written atomically. Whoever calls it has read something of the step back before.
    """
    files, folders, others = _contents(folder)
    if others:
        name, what = next(iter(others.items()))
        raise UserError(f"{names.shown(folder)} can't be sealed: {names.shown(name)} {what}")
    digests = {name: _sha256(path) for name, path in files.items()}
    target = manifest_path(folder)
    target.parent.mkdir(exist_ok=True)
    temporary = target.with_suffix(".tmp")
    with open(temporary, "w") as file:
        json.dump({"step": int(folder.name), "files": digests, "folders": sorted(folders)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, target)


def verify(step_dir: Path) -> list[str]:
    """What is wrong with a step, one line each; [] if all is well.

    Missing, changed, unreadable and unlisted files, unlisted and missing folders, links and whatever else is no file;
    another number in the manifest or in the step's item than that of its folder. What a digest does not promise: see
    the module.

    Raises:
      UserError: if the step has no readable manifest.
    """
    path = manifest_path(step_dir)
    listed = _read(path, step_dir)
    expected = listed["files"]
    problems = [f"{what.name}: is a link" for what in (step_dir, path) if what.is_symlink()]
    if str(listed["step"]) != step_dir.name:
        problems.append(f"{path.name}: is the manifest of step {listed['step']}, not of {step_dir.name}")
    files, folders, others = _contents(step_dir)
    problems += [f"{name}: {what}" for name, what in others.items()]
    problems += [f"{name}: missing" for name in sorted(expected.keys() - files.keys() - others.keys())]
    problems += [f"{name}: not in the manifest" for name in sorted(files.keys() - expected.keys())]
    above = {str(up) for name in expected for up in Path(name).parents} - {"."}
    listed_folders = set(listed.get("folders", above))
    problems += [f"{name}/: missing" for name in sorted(listed_folders - folders - above)]
    problems += [f"{name}/: not in the manifest" for name in sorted(folders - listed_folders - above)]
    for name in sorted(expected.keys() & files.keys()):
        try:
            if _sha256(files[name]) != expected[name]:
                problems.append(f"{name}: its SHA-256 differs from the manifest's")
        except OSError as error:
            problems.append(f"{name}: can't be read ({error.strerror})")
    return [*map(names.shown, problems), *([] if problems else _number(step_dir))]


def verify_all(workdir: PathLike) -> dict[str, Any]:
    """`verify` of every step of a workdir.

    Returns:
      steps: [{"step", "path", "newest", "best", "problems"}], of each numbered folder and each manifest without one;
      skipped: a line for each other thing in `checkpoints`, such as a step that was being written; nothing uses them.

    Raises:
      UserError: where there is no step at all, or the folder can't be read.
    """
    listed = list_steps(workdir)
    folder = Path(workdir).expanduser() / "checkpoints"
    steps = [step for step in listed if step.path.name == str(step.number)]
    finished = [step.number for step in steps if step.finished]
    rows = []
    for step in steps:
        try:
            problems = verify(step.path)
        except UserError as error:
            problems = [str(error)]
        newest = step.number == max(finished, default=None)
        rows.append({"step": step.number, "path": str(step.path), "newest": newest, "best": step.best})
        rows[-1]["problems"] = problems
    gone = _manifests(folder.parent) - {step.number for step in steps} - removed(folder.parent)
    for number in sorted(gone):
        rows.append({"step": number, "path": str(folder / str(number)), "newest": False, "best": False})
        rows[-1]["problems"] = ["its folder is gone, and its manifest is there"]
    if not rows:
        raise UserError(f"{workdir} holds no checkpoint that could be verified")
    known = {step.path.name for step in steps}
    skipped = [
        f"{names.shown(path.name)}: {'unfinished' if '.orbax-checkpoint-tmp' in path.name else 'is no step'}; skipped"
        for path in sorted(folder.iterdir())
        if path.name not in {*known, REMOVED}
    ]
    return {"steps": sorted(rows, key=lambda row: row["step"]), "skipped": skipped}


def gone(workdir: Path) -> list[int]:
    """The steps of which there is a manifest and no folder: deleted by hand, or by a run that was killed then."""
    folder = workdir / "checkpoints"
    return sorted(number for number in _manifests(workdir) if not (folder / str(number)).is_dir())


def removed(workdir: Path) -> set[int]:
    """The steps that a run was removing when it ended."""
    folder = workdir / "checkpoints" / REMOVED
    return {int(path.name) for path in folder.glob("*") if re.fullmatch(NUMBER, path.name)}


def _manifests(workdir: Path) -> set[int]:
    """The steps that there are manifests of."""
    paths: Iterable[Path] = (workdir / "manifests").glob("*.json") if (workdir / "manifests").is_dir() else ()
    return {int(path.stem) for path in paths if re.fullmatch(NUMBER, path.stem)}


def _read(path: Path, step_dir: Path) -> dict[str, Any]:
    """A manifest, its types checked."""
    try:
        listed = items.read(path)
        if not isinstance(listed, dict) or type(listed.get("step")) is not int:
            raise ValueError("names no step")
        files, folders = listed.get("files"), listed.get("folders", [])
        if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
            raise ValueError("lists no files")
        if not isinstance(folders, list) or not all(isinstance(name, str) for name in folders):
            raise ValueError("lists no folders")
    except FileNotFoundError as error:
        raise UserError(f"{step_dir} has no manifest {path}: the step is unfinished and cannot be verified") from error
    except (OSError, ValueError) as error:
        reason = f"it can't be read, {error.strerror}" if isinstance(error, OSError) else f"it {error}"
        raise UserError(f"{path} is damaged ({reason}): the step cannot be verified") from error
    return listed


def _number(step_dir: Path) -> list[str]:
    """What the step's own item says of its number, where that is another; a digest can't tell of a renamed folder."""
    try:
        number = items.read(step_dir / "meta" / "metadata")["step"]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # of another program: its files are as listed
    return [] if str(number) == step_dir.name else [f"meta/metadata: is of step {number}, not of {step_dir.name}"]


def _contents(folder: Path) -> tuple[dict[str, Path], set[str], dict[str, str]]:
    """(name -> file, folders, name -> what is wrong with another entry) below a folder; links are not followed."""
    files, folders, others, left = {}, set(), {}, [folder]
    while left:
        here = left.pop()
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            others[here.relative_to(folder).as_posix()] = f"can't be looked at ({error.strerror})"
            continue
        for entry in entries:
            name = Path(entry.path).relative_to(folder).as_posix()
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                folders.add(name)
                left.append(Path(entry.path))
            elif stat.S_ISREG(mode):
                files[name] = Path(entry.path)
            else:
                others[name] = "is a link" if stat.S_ISLNK(mode) else "is no file"
    return files, folders, others


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
