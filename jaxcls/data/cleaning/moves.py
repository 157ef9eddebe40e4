"""Moves files aside and puts them back: nothing is deleted, nothing overwritten, and an interruption at any point
leaves a state from which both ways go on.

The journal is a file of JSON lines, {"time", "from", "to"} with absolute paths. A line is on the disk before its file
is moved, so every moved file is in the journal; a line without its move is harmless.
"""

import contextlib
import errno
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from jaxcls.errors import UserError

JOURNAL = "journal.jsonl"


def aside_of(root: Path) -> Path:
    """The default folder for what is moved out of `root`: beside it, so that `root` stays a valid source."""
    root = root.resolve()
    return root.with_name(f"{root.name}.removed")


def apply(root: Path, paths: Iterable[str], aside: Path, progress: Callable[[int, int], None] | None = None) -> int:
    """Moves files of `root` to the same places below `aside`; returns how many were moved now.

    Files that the journal says are there already are passed over, so an interrupted call is simply repeated. Where
    another file has the place, a number is added to the name. The journal is `aside`/journal.jsonl; it grows.

    Args:
      root: the folder.
      paths: relative to it.
      aside: outside of `root`, on the same file system.
      progress: called as progress(done, total).

    Raises:
      UserError: before anything is moved, for a path that leaves `root` or a file that is missing; an unusable `aside`.
    """
    root, aside = root.resolve(), aside.expanduser().resolve()
    if aside == root or root in aside.parents:
        raise UserError(f"{aside} is inside {root}; files moved there would still belong to it. Choose another --aside")
    journal = aside / JOURNAL
    done = {entry["from"]: entry["to"] for entry in read(journal)} if journal.exists() else {}
    todo = []
    for path in dict.fromkeys(paths):
        source = root / path
        # The folder is resolved, the file is not: a link to a picture is moved as a link.
        if not path or os.path.isabs(path) or root not in (source.parent.resolve() / source.name).parents:
            raise UserError(f"{path!r} is not a path inside {root}; is this the CSV of another folder?")
        if os.path.lexists(source):
            todo.append((source, aside / path))
        elif not os.path.lexists(done.get(str(source), "")):
            raise UserError(f"{source} is missing, and was not moved aside; is this the CSV of another folder?")
    if not todo:
        return 0
    with _cause(aside):
        aside.mkdir(parents=True, exist_ok=True)
        _end_line(journal)
        with open(journal, "a", encoding="utf-8") as file:
            for count, (source, wanted) in enumerate(todo, 1):
                target = _place(source, wanted, done.get(str(source)))
                file.write(json.dumps({"time": time.time(), "from": str(source), "to": str(target)}) + "\n")
                file.flush()
                os.fsync(file.fileno())
                target.parent.mkdir(parents=True, exist_ok=True)
                move(source, target)
                if progress:
                    progress(count, len(todo))
    return len(todo)


def undo(journal: Path, progress: Callable[[int, int], None] | None = None) -> tuple[int, list[str]]:
    """Puts back what a journal says was moved, the last first: (number moved back now, problems in words).

    What is back already is passed over. A file whose old place is taken by another stays where it is and is a problem,
    as is one that is at neither place. Emptied folders of the aside tree are removed, the journal stays.

    Raises:
      UserError: no journal.
    """
    entries = read(journal)
    aside, count, problems = journal.resolve().parent, 0, []
    for number, entry in enumerate(reversed(entries), 1):
        origin, place = Path(entry["from"]), Path(entry["to"])
        if os.path.lexists(place):
            if os.path.lexists(origin) and not same(origin, place):
                problems.append(f"{origin} exists again, so {place} stays where it is; rename one of them")
                continue
            with _cause(origin):
                origin.parent.mkdir(parents=True, exist_ok=True)
                move(place, origin)
            count += 1
            for parent in place.parents:
                if aside not in parent.parents or any(parent.iterdir()):
                    break
                parent.rmdir()
        elif not os.path.lexists(origin):
            problems.append(f"{place} is missing, and {origin}, where it came from, too")
        if progress:
            progress(number, len(entries))
    return count, list(dict.fromkeys(problems))


def read(journal: Path) -> list[dict[str, str]]:
    """The entries of a journal. Lines that are not whole are passed over: their files were not moved yet.

    Raises:
      UserError: no journal, or a file of another kind.
    """
    try:
        lines = journal.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise UserError(f"{journal}: cannot be read as a journal ({reason}); it is FOLDER.removed/{JOURNAL}") from error
    entries = []
    for line in lines:
        with contextlib.suppress(json.JSONDecodeError):
            entry = json.loads(line)
            if isinstance(entry, dict) and {"from", "to"} <= entry.keys():
                entries.append(entry)
    if any(lines[:-1]) and not entries:
        raise UserError(f"{journal} is not a journal of moved files; it is FOLDER.removed/{JOURNAL}")
    return entries


def move(source: Path, target: Path) -> None:
    """Renames, and raises FileExistsError rather than overwrite. After an interruption the file may stand at both
    places, as one file with two names; called again, it then removes the first name.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        if not same(source, target):
            raise
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise
        if os.path.lexists(target):  # file systems without hard links
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        os.rename(source, target)
        return
    os.unlink(source)


def same(a: Path, b: Path) -> bool:
    """Whether two names stand for one file (links are not followed)."""
    return os.path.samestat(os.lstat(a), os.lstat(b))


def _place(source: Path, wanted: Path, before: str | None) -> Path:
    """A free place for a file: that of an interrupted move, the wanted one, or one with a number."""
    for target in ([Path(before)] if before else []) + [wanted]:
        if not os.path.lexists(target) or same(source, target):
            return target
    number = 1
    while os.path.lexists(target := wanted.with_name(f"{wanted.stem}.{number}{wanted.suffix}")):
        number += 1
    return target


def _end_line(journal: Path) -> None:
    """Ends a line that an interruption has cut off, so that the next one is whole."""
    if journal.exists() and not journal.read_bytes().endswith(b"\n") and journal.stat().st_size:
        with open(journal, "ab") as file:
            file.write(b"\n")


@contextlib.contextmanager
def _cause(place: Path):
    """Turns what the file system refuses into a UserError."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise UserError(
                f"{place} is on another file system than the pictures; choose an --aside beside them"
            ) from error
        raise UserError(
            f"{error.filename or place}: {error.strerror}; mend that and run the same command again"
        ) from error
