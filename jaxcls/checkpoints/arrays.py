"""The arrays of a step, without the run's objects and devices; Orbax is imported when one is read."""

import contextlib
import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls.checkpoints import meta, names
from jaxcls.checkpoints.steps import read_meta
from jaxcls.errors import UserError
from jaxcls.pytree import flatten_names


@dataclasses.dataclass(frozen=True)
class Tensor:
    """Shape and dtype of a saved array."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.count * self.dtype.itemsize


def read_tensors(step_dir: Path) -> dict[str, Tensor]:
    """Name -> shape and dtype of everything in the state; no array is read.

    Raises:
      UserError: if the state is missing or damaged.
    """
    with _state(step_dir) as (tree, _):
        return _tensors(tree)


def read_arrays(
    step_dir: Path, wanted: Collection[str] | None = None, *, places: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Name -> array on the host, all or the named ones only, whatever devices they were saved from.

    One process may call it alone: it waits for no other. With `places`, name -> sharding, those named there are arrays
    that lie so, of which a process reads its own parts.

    Raises:
      UserError: if the state is missing or damaged.
    """
    return read_both(step_dir, wanted, places=places)[1]


def read_both(
    step_dir: Path, wanted: Collection[str] | None, *, places: Mapping[str, Any] | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(`read_tensors`, `read_arrays`) in the time of the second."""
    with _state(step_dir) as (tree, path):
        import jax
        import orbax.checkpoint as ocp

        named, structure = flatten_names(tree), jax.tree.structure(tree)
        items = [m if wanted is None or name in wanted else ocp.PLACEHOLDER for name, m in named.items()]
        host = ocp.RestoreArgs(restore_type=np.ndarray)
        cut = {name: ocp.ArrayRestoreArgs(restore_type=jax.Array, sharding=p) for name, p in (places or {}).items()}
        restore = ocp.args.PyTreeRestore(
            item=jax.tree.unflatten(structure, items),
            restore_args=jax.tree.unflatten(structure, [cut.get(name, host) for name in named]),
        )
        handler = ocp.PyTreeCheckpointHandler(restore_concurrent_gb=_at_once(named))
        state = flatten_names(handler.restore(path, args=restore))
        kept = {name: x for name, x in state.items() if x is not ocp.PLACEHOLDER}
        return _tensors(tree), {name: x if name in cut else np.asarray(x) for name, x in kept.items()}


def read_variables(step_dir: Path, *, raw: bool = False) -> tuple[dict[str, Any], bool]:
    """(the collections of the model that answers, as nested dicts of arrays; whether they are averages).

    Averages (EMA) are taken where there are any, unless `raw`.

    Raises:
      UserError: where the step can't be read.
    """
    answer = read_meta(step_dir).answer
    average, plain = (answer.names, answer.raw) if answer else meta.names_of_version_1(read_tensors(step_dir))
    averaged = bool(plain) and not raw
    stored_names = plain if plain and raw else average
    arrays = read_arrays(step_dir, set(stored_names.values()))
    variables: dict[str, Any] = {}
    if missing := [stored for stored in stored_names.values() if stored not in arrays]:
        raise UserError(f"{step_dir} holds no {missing[0]}, which its model needs; choose another step")
    for name, stored in stored_names.items():
        *path, leaf = name.split("/")
        node = variables
        for key in path:
            node = node.setdefault(key, {})
        node[leaf] = arrays[stored]
    return variables, averaged


def _at_once(named):
    """Gigabytes that may be under way to the devices: one, or the largest array. (Orbax has 96.)"""
    largest = max((math.prod(m.shape) * np.dtype(m.dtype).itemsize for m in named.values()), default=0)
    return 1 + largest // 10**9


def _tensors(tree):
    return {name: Tensor(tuple(m.shape), np.dtype(m.dtype)) for name, m in flatten_names(tree).items()}


@contextlib.contextmanager
def _state(step_dir: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """(Orbax's nested dict of a state, with metadata in place of arrays; its folder under a name that Orbax takes)."""
    folder = (step_dir / "state").absolute()
    if not folder.is_dir():
        raise UserError(f"{step_dir} holds no tensors (no folder 'state'); choose another step")
    try:
        with names.plain(folder) as path:
            import orbax.checkpoint as ocp

            yield ocp.PyTreeCheckpointHandler().metadata(path).tree, path
    except UserError:
        raise
    except Exception as error:  # Orbax and TensorStore raise a dozen types for damaged files, with long texts
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"{names.shown(folder)} cannot be read; choose another step ({reason})") from error
