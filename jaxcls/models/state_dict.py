"""State dicts of PyTorch to variables and back.

Modules bear the reference's names, so the path of a parameter joined with dots is its key, with the leaf renamed
(kernel and scale to weight, mean to running_mean, ...) and the axes of kernels reordered. No table is needed.
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxcls.errors import UserError

LISTED = 10  # names in an error: another architecture differs in hundreds
_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "mean": "running_mean", "var": "running_var"}
_COLLECTIONS = ("params", "batch_stats")
_COUNTERS = re.compile(r"(^|\.)(num_batches_tracked|n_averaged)$")
_WRAPPERS = ("module.", "_orig_mod.", "model.")  # DataParallel and AveragedModel, torch.compile, Lightning


class Slot(NamedTuple):
    """Where the value of a key belongs: its path in the variables, its shape in PyTorch's layout, its dtype."""

    path: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype

    def value(self, array: np.ndarray) -> np.ndarray:
        """A copy of an array of this shape in our layout and dtype."""
        moved = np.moveaxis(array, (0, 1), (-1, -2)) if self.path[-1] == "kernel" else array
        with np.errstate(over="ignore"):
            return np.array(moved, self.dtype, order="C")


def from_state_dict(state: dict, variables: dict) -> dict:
    """`variables` with the values of a PyTorch state dict under the model's own names, in its shapes and dtypes.

    `variables` may be abstract (`jax.eval_shape` of an init); collections other than `params` and `batch_stats` come
    back as they are. Prefixes of wrappers (`module.` on every key) and counters are passed over; axes of length one may
    differ. `pretrained.load` also knows what else may differ from model to model.
    Raises UserError, which lists them, for keys that are missing, left over or of another shape.
    """
    ours, wrong, new = slots(variables), [], {}
    state = {name: np.asarray(state[key]) for key, name in own_names(state, ours).items()}
    for key in sorted(ours.keys() & state.keys()):
        value = fit_ones(state[key], ours[key].shape)
        if value is None:
            wrong.append(misshapen(key, state[key], ours[key]))
        else:
            new[ours[key].path] = jnp.asarray(ours[key].value(value))
    refuse(ours.keys() - state.keys(), state.keys() - ours.keys(), wrong)
    return merge(variables, traverse_util.unflatten_dict(new))


def to_state_dict(variables: dict, dtype: Any = None) -> dict[str, np.ndarray]:
    """The PyTorch state dict of `variables`, without the counters `num_batches_tracked` (PyTorch fills them in).

    Args:
      variables: `{"params": ..., "batch_stats": ...}`; other collections are left out.
      dtype: of all floating-point values; None: as they are.
    """
    state = {}
    for path, leaf in _leaves(variables):
        value = np.asarray(leaf)
        if dtype is not None and jnp.issubdtype(value.dtype, jnp.floating):
            value = value.astype(dtype)
        # Kernels end in (in, out) here and begin with (out, in) there, whatever axes are between.
        state[_key(path)] = np.moveaxis(value, (-1, -2), (0, 1)) if path[-1] == "kernel" else value
    return state


def slots(variables: dict) -> dict[str, Slot]:
    """Key -> where its value belongs, of all parameters and running statistics."""
    slots_by_key = {}
    for path, leaf in _leaves(variables):
        shape = tuple(leaf.shape)
        if path[-1] == "kernel":
            shape = (shape[-1], shape[-2], *shape[:-2])
        slots_by_key[_key(path)] = Slot(path, shape, np.dtype(leaf.dtype))
    return slots_by_key


def own_names(keys: Iterable[str], ours: Iterable[str]) -> dict[str, str]:
    """Key of a file -> the same without the prefixes of wrappers, which all keys have; counters are left out."""
    names = {key: key for key in keys if not _COUNTERS.search(key)}
    ours, stripped = tuple(ours), True
    while stripped:
        stripped = False
        for prefix in _WRAPPERS:
            if names and all(x.startswith(prefix) for x in names.values()) and not _any_starts(ours, prefix):
                names = {key: x.removeprefix(prefix) for key, x in names.items()}
                stripped = True
    return names


def fit_ones(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """The value in this shape, if they differ by axes of length one at most; else None."""
    return value.reshape(shape) if without_ones(value.shape) == without_ones(shape) else None


def without_ones(shape: tuple[int, ...]) -> list[int]:
    """A shape less its axes of length one."""
    return [n for n in shape if n != 1]


def merge(variables: dict, weights: dict) -> dict:
    """Nested dicts of variables, with the leaves of `weights` in place of their own."""
    flat = traverse_util.flatten_dict(variables, keep_empty_nodes=True)
    return traverse_util.unflatten_dict({**flat, **traverse_util.flatten_dict(weights)})


def misshapen(key: str, value: np.ndarray, slot: Slot) -> str:
    """What is wrong with a tensor whose shape differs from the model's."""
    return f"{key} is {text(value.shape)} where the model has {text(slot.shape)}"


def text(shape: tuple[int, ...]) -> str:
    """64x3x7x7"""
    return "x".join(map(str, shape)) or "a scalar"


def abbreviated(names: Iterable[str], most: int = LISTED) -> str:
    """The first names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def refuse(missing: Iterable[str], unexpected: Iterable[str], wrong: list[str]) -> None:
    """Raises UserError if there is anything that does not fit."""
    missing, unexpected = sorted(missing), sorted(unexpected)
    parts = []
    if missing:
        parts.append(f"{len(missing)} missing: {abbreviated(missing)}")
    if unexpected:
        parts.append(f"{len(unexpected)} unexpected: {abbreviated(unexpected)}")
    if wrong:
        parts.append(f"{len(wrong)} of another kind: {abbreviated(wrong)}")
    if parts:
        count = len(missing) + len(unexpected) + len(wrong)
        raise UserError(f"these weights are not this model's, {count} tensors do not fit: {'; '.join(parts)}")


def _any_starts(names, prefix):
    return any(name.startswith(prefix) for name in names)


def _leaves(variables: dict) -> list[tuple[tuple[str, ...], Any]]:
    return [(path, leaf) for path, leaf in traverse_util.flatten_dict(variables).items() if path[0] in _COLLECTIONS]


def _key(path: tuple[str, ...]) -> str:
    """("params", "layer1.0", "conv1", "kernel") to "layer1.0.conv1.weight"."""
    return ".".join((*path[1:-1], _LEAVES.get(path[-1], path[-1])))
