"""Saving and restoring runs: asynchronous and atomic through Orbax, each step sealed by the SHA-256 of its files.

Layout (read by `view` without any of the run's objects):

    <workdir>/checkpoints/<step>/state   the TrainState as nested dicts, less what the task calls transient
    <workdir>/checkpoints/<step>/meta    JSON: what is known of it (`meta.Meta`)
    <workdir>/manifests/<step>.json      written last: a step without it is unfinished and never restored
    <workdir>/damaged/                   what was found unfinished or corrupt, moved aside
"""

import contextlib
import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flax.serialization
import jax
import numpy as np

from jaxcls import parallel, pytree
from jaxcls.checkpoints import manifest, names, view
from jaxcls.checkpoints.arrays import Tensor
from jaxcls.checkpoints.manifest import write_manifest
from jaxcls.checkpoints.meta import Meta
from jaxcls.checkpoints.written import AsUserError, misfits, read_back
from jaxcls.errors import UserError
from jaxcls.types import Note, PathLike

if TYPE_CHECKING:
    from jaxcls.state import TrainState


class Checkpoints:
    """The checkpoints of one workdir. The newest `keep` and the best one stay, independently of each other.

    Args:
      workdir: folder of the run.
      keep: how many of the newest to keep.
      transient: keys of `state.extra` that are not saved.
      read_only: for evaluation: nothing is written, moved or deleted.

    Raises:
      UserError: from any method, where a file cannot be written or read.
    """

    def __init__(self, workdir: PathLike, *, keep: int = 2, transient: Iterable[str] = (), read_only: bool = False):
        self.workdir = Path(workdir).absolute()
        self.transient = tuple(transient)
        self.keep = keep
        self.read_only = read_only
        self._manager: Any = None
        self._pending: tuple[int, dict[str, Tensor]] | None = None  # the step whose files are still being written
        self._names = contextlib.ExitStack()  # the workdir under a name that Orbax takes

    def save(self, state: "TrainState", meta: Meta, score: float | None = None) -> None:
        """Starts writing the checkpoint of `state.step`; returns before it is done. A step that is there already stays.

        Args:
          state: the TrainState, replicated or cut over devices.
          meta: of the step.
          score: what `best` means for this step, higher is better; None if it was not measured.
        """
        import orbax.checkpoint as ocp

        step = int(state.step)
        with self._writing():
            self._finish()
            manager = self._open()
            if step in manager.all_steps():
                return
            tree = _drop_empty(flax.serialization.to_state_dict(self._lasting(state)))
            items = ocp.args.Composite(state=ocp.args.StandardSave(tree), meta=ocp.args.JsonSave(meta.to_json()))
            metrics = {"score": float(score)} if score is not None and math.isfinite(score) else None
            manager.save(step, args=items, metrics=metrics)
            saved = pytree.flatten_names(tree)
            self._pending = step, {name: Tensor(tuple(x.shape), np.dtype(x.dtype)) for name, x in saved.items()}

    def poll(self) -> None:
        """Seals the last checkpoint if its files are complete by now. Cheap; call it between steps."""
        if self._pending is not None and not self._manager.is_saving_in_progress():
            with self._writing():
                self._finish()

    def close(self) -> None:
        """Waits for the last checkpoint and seals it."""
        if self._manager is not None:
            with self._writing():
                self._finish()
                self._manager.close()
                self._manager = None
                self._names.close()

    def restore(
        self,
        state: "TrainState | Callable[[], TrainState]",
        note: Note,
        *,
        step: int | None = None,
        places: "Callable[[Any], Any] | None" = None,
    ) -> "tuple[TrainState, Meta] | None":
        """The newest good checkpoint in place of `state`, as host arrays, or straight where `places` says.

        Every file is checked against the manifest first, those of older steps too: Orbax would keep a damaged one as
        the best. Unfinished and damaged steps are named, moved to `damaged/` (unless read_only) and passed over.

        Args:
          state: the state the run would start with, or a function that returns it and is called only where there is
            a checkpoint; gives names, shapes and the transient parts.
          note: called with one line for each step that is passed over.
          step: only this step, instead of the newest.
          places: tree -> a sharding for each of its leaves, by which every process reads its own parts of the arrays,
            whatever devices they were saved from; None for host arrays, whole on every process.

        Returns:
          (state, meta), or None where there is no good checkpoint.

        Raises:
          UserError: if a good checkpoint does not fit the state, or the step asked for is not good.
        """
        number = parallel.agree(lambda: self._choose(step, note))
        if number is None:
            return None
        folder = self.workdir / "checkpoints" / str(number)
        return self._load(folder, state() if callable(state) else state, places), view.read_meta(folder)

    def best(self) -> int | None:
        """The step with the highest score among the finished ones; None where no step has a score."""
        if not (self.workdir / "checkpoints").is_dir():
            return None
        steps = view.list_steps(self.workdir)
        return next((entry.number for entry in steps if entry.best), None)

    def misfits(self, folder: Path, state: "TrainState") -> list[str]:
        """Where the state of a step's folder does not fit one like `state`, in words that begin with names; [] where it
        does."""
        target = flax.serialization.to_state_dict(self._lasting(state))
        return misfits(view.read_tensors(folder), pytree.flatten_names(target))

    def _choose(self, step, note):
        """The number of the newest good step, or of the one asked for; None where there is none."""
        if step is not None:
            folder = view.find_step(self.workdir, step)
            if problem := self._problem(folder):
                others = [str(s.number) for s in view.list_steps(self.workdir) if s.finished and s.number != step]
                hint = f"choose another step, of {', '.join(others)}." if others else "there is no other one."
                raise UserError(f"checkpoint {folder} {problem}; {hint}")
            for entry in view.list_steps(self.workdir):
                if not entry.finished and entry.path.name == str(entry.number):
                    note(f"checkpoint {entry.number} has no manifest; it is passed over")
            return step
        if not (self.workdir / "checkpoints").is_dir():
            return None
        newest, steps = None, view.list_steps(self.workdir)
        for entry in reversed(steps):
            if problem := self._problem(entry.path):
                note(f"checkpoint {entry.path.name} {problem}; it is passed over{self._move_aside(entry.path)}")
            elif newest is None:
                newest = entry.number
                if self.read_only:
                    break
        for number in set(manifest.gone(self.workdir)) - manifest.removed(self.workdir):
            note(f"checkpoint {number} is gone, and its manifest is there; it is passed over")
            if not self.read_only:
                view.manifest_path(self.workdir / "checkpoints" / str(number)).unlink(missing_ok=True)
        if steps and newest is None and not self.read_only:
            note("no good checkpoint is left: the run starts from the beginning")
        return newest

    @staticmethod
    def _problem(folder):
        """What is wrong with a step, in a few words; None if it is good."""
        if not view.manifest_path(folder).is_file() or not folder.name.isdigit():
            return "is unfinished (the run ended while it was written)"
        try:
            problems = view.verify(folder)
            view.read_meta(folder)
        except UserError as error:
            return f"is damaged ({error})"
        return f"is damaged ({problems[0]})" if problems else None

    def _load(self, folder, state, places):
        target = flax.serialization.to_state_dict(self._lasting(state))
        if wrong := self.misfits(folder, state):
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise UserError(
                f"checkpoint {folder} does not fit this config: {wrong[0]}{more}; use the config it was made with, "
                "or another --workdir."
            )
        arrays = view.read_arrays(folder, places=pytree.flatten_names(places(target)) if places else None)
        leaves = [arrays[name] for name in pytree.flatten_names(target)]
        tree = jax.tree.unflatten(jax.tree.structure(target), leaves)
        restored = flax.serialization.from_state_dict(self._lasting(state), tree)
        kept = {k: v for k, v in state.extra.items() if k in self.transient}
        return restored.replace(extra={**restored.extra, **kept})

    def _lasting(self, state):
        return state.replace(extra={k: v for k, v in state.extra.items() if k not in self.transient})

    def _move_aside(self, folder):
        """Frees the step's number, since Orbax silently refuses to save a step that exists. Nothing is deleted.

        Returns what to add to a message.
        """
        if self.read_only:
            return ""
        with self._writing():
            target = self.workdir / "damaged"
            target.mkdir(exist_ok=True)
            n = sum(1 for _ in target.iterdir())
            shutil.move(folder, target / f"{folder.name}-{n}")
            view.manifest_path(folder).unlink(missing_ok=True)
        return f" and lies in {target} now"

    def _open(self):
        if self._manager is None:
            import orbax.checkpoint as ocp
            from orbax.checkpoint import checkpoint_managers

            newest = checkpoint_managers.LatestN(self.keep)
            best = checkpoint_managers.BestN(
                get_metric_fn=lambda m: m["score"], n=1, keep_checkpoints_without_metrics=False
            )
            options = ocp.CheckpointManagerOptions(
                preservation_policy=checkpoint_managers.AnyPreservationPolicy([newest, best]),
                best_fn=lambda m: m["score"],  # without it Orbax stores no scores, and a restart loses the best
                todelete_subdir=manifest.REMOVED,  # what is killed while it removes a step leaves no half of one
            )
            self.workdir.mkdir(parents=True, exist_ok=True)
            root = self._names.enter_context(names.plain(self.workdir, held=True))
            self._manager = ocp.CheckpointManager(root / "checkpoints", options=options)
        return self._manager

    def _finish(self):
        """Waits until the pending step is committed, reads it back, seals it, removes manifests of deleted steps."""
        if self._pending is None:
            return
        (step, saved), self._pending = self._pending, None  # first, so that a step that failed is never sealed
        self._manager.wait_until_finished()
        if jax.process_index():
            return
        folder = self.workdir / "checkpoints" / str(step)
        read_back(folder, saved)
        write_manifest(folder)
        for number in manifest.gone(self.workdir):
            view.manifest_path(self.workdir / "checkpoints" / str(number)).unlink(missing_ok=True)
        shutil.rmtree(self.workdir / "checkpoints" / manifest.REMOVED, ignore_errors=True)

    def _writing(self):
        return AsUserError(self.workdir)


def _drop_empty(tree):
    """Nested dicts without empty ones and without None, which Orbax would store as leaves of their own."""
    if not isinstance(tree, dict):
        return tree
    kept = {k: _drop_empty(v) for k, v in tree.items()}
    return {k: v for k, v in kept.items() if v is not None and not (isinstance(v, dict) and not v)}
