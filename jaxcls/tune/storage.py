"""Where a study is kept: Optuna's journal in the search's folder, for any number of workers, or a database."""

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxcls import files
from jaxcls.errors import UserError
from jaxcls.tune import sampling
from jaxcls.tune.plan import Plan
from jaxcls.tune.sampling import JournalFileBackend, JournalFileOpenLock, optuna
from jaxcls.types import PathLike

PLAN, JOURNAL, LOCK = "plan.json", "study.journal", "ask"
OF_RUNS = ("config.json", "metrics.jsonl")  # what no search has in its folder
Study = optuna.Study
DIRECTIONS = {"max": "maximize", "min": "minimize"}
optuna.logging.set_verbosity(optuna.logging.CRITICAL)  # we speak ourselves


def create(search: PathLike, plan: Plan, storage: str = "") -> Study:
    """The study of a search: a new one, or the one that is there.

    Args:
      search: folder of the search.
      plan: what it is.
      storage: a database's URL; "": the journal in the folder. One that is there stays where it is.

    Raises:
      UserError: another plan is there (what differs is named), the plan cannot be, the folder can't be written, the
        storage can't be reached.
    """
    folder = Path(search)
    sampling.sampler(plan.sampler, plan.space, plan.seed, plan.grid_points)  # whether it can be, before it is written
    sampling.pruner(plan.pruner)
    if not (folder / PLAN).exists():
        if found := [name for name in OF_RUNS if (folder / name).exists()]:
            raise UserError(f"{folder} is the workdir of a run ({found[0]}); give a search another --workdir.")
        _study(folder, plan, storage)  # a storage that can't be reached leaves nothing behind
        _claim(folder / PLAN, {**plan.to_json(), "storage": storage})
    there, url = _read(folder)
    _refuse_another(folder, there, dataclasses.replace(plan, name=there.name))  # the folder may have been renamed
    if storage not in ("", url):
        raise UserError(f"{folder} has its study in {url or JOURNAL}; leave --storage off, or give another --workdir.")
    return _study(folder, there, url)


def opened(search: PathLike) -> tuple[Study, Plan]:
    """The study and the plan that a folder has.

    Raises:
      UserError: it has none, or its storage can't be reached.
    """
    plan, url = _read(Path(search))
    return _study(Path(search), plan, url), plan


@contextlib.contextmanager
def alone(search: PathLike) -> Iterator[None]:
    """Within this context no other worker of the search is in it, on whatever machine. The lock of one that died is
    broken after half a minute."""
    with _locked(Path(search) / LOCK):
        yield


@contextlib.contextmanager
def _locked(path):
    """Holds PATH.lock, Optuna's way: a journal's is the one that its writers hold."""
    lock = JournalFileOpenLock(str(path))
    lock.acquire()
    try:
        yield
    finally:
        with contextlib.suppress(RuntimeError):  # somebody took us for dead
            lock.release()


def _read(folder):
    """(plan, storage) of plan.json."""
    path = folder / PLAN
    stored = files.read_json(path, strict=True)
    if stored is None:
        raise UserError(f"{folder} has no search ({PLAN} is not there); begin one: jaxcls tune CONFIG --space ...")
    try:
        return Plan.from_json(stored), str(stored["storage"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); restore it, or begin in another folder.") from error


def _claim(path, content):
    """Writes a file unless another process has done so: the first one's stays, and is never seen in part."""
    own = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        files.write_json(own, content)
        with contextlib.suppress(FileExistsError):
            os.link(own, path)
    except OSError:  # a file system without links
        with contextlib.suppress(FileExistsError), open(path, "x") as file:
            file.write(own.read_text())
    finally:
        own.unlink(missing_ok=True)


def _refuse_another(folder, there, plan):
    old, new = (dict(_flat(json.loads(json.dumps(one.to_json())))) for one in (there, plan))
    for key in sorted(old.keys() | new.keys(), key=lambda key: (key.startswith("config."), key)):
        if old.get(key) != new.get(key):
            said = [repr(one[key])[:80] if key in one else "not there" for one in (old, new)]
            raise UserError(
                f"{folder} has another search: its {key} is {said[0]}, here {said[1]}; give another --workdir, or go "
                "on with what is there, giving its folder alone."
            )


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}".strip("."))
    elif path == "space.dimensions":
        yield "space", "; ".join(value)
    else:
        yield path, value


def _study(folder, plan, url):
    """Optuna's study in a storage, made if absent."""
    where = url or str(folder / JOURNAL)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not url and not (folder / JOURNAL).exists() and next(folder.glob("trial-*"), None):
            raise UserError(f"{folder} has trials, but its {JOURNAL} is gone; restore it, or begin in another folder.")
        if not url:
            _mend(folder / JOURNAL)
        study = optuna.create_study(
            storage=url or _journal(folder),
            study_name=plan.name,
            directions=[DIRECTIONS[direction] for direction in plan.directions],
            sampler=sampling.sampler(plan.sampler, plan.space, plan.seed, plan.grid_points),
            pruner=sampling.pruner(plan.pruner),
            load_if_exists=True,
        )
        known = study.user_attrs.get("plan")
        if known is None:
            study.set_user_attr("plan", plan.to_json())
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{where} can't be written: {error.strerror or error}; give another --workdir.") from error
    except Exception as error:  # of SQLAlchemy, of a driver, of a damaged journal
        reason = " ".join(str(error).split())[:200]
        remedy = "is the URL right, and the database running?" if url else "restore it, or begin in another folder."
        raise UserError(
            f"the study in {_hidden(where)} can't be read ({type(error).__name__}: {reason}); {remedy}"
        ) from None
    if known is not None:
        _refuse_another(_hidden(where), Plan.from_json(known), plan)
    return study


def _journal(folder):
    path = str(folder / JOURNAL)
    # Not its lock by a symbolic link: where that leads nowhere, as on another machine, a dead worker's is never broken.
    return optuna.storages.JournalStorage(JournalFileBackend(path, JournalFileOpenLock(path)))


def _mend(path):
    """Cuts off a last line that is not whole, of a process that was killed or had no more room while it wrote."""
    if not path.exists() or not path.stat().st_size:
        return
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        if file.read() == b"\n":
            return
    with _locked(path):
        text = path.read_bytes()
        os.truncate(path, text.rfind(b"\n") + 1)


def _hidden(where):
    """A text without the password of a URL in it."""
    return re.sub(r"://([^:/@]*):[^@]*@", r"://\1:***@", str(where))
