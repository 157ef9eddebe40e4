"""State dicts of PyTorch to variables and back.

Modules bear the reference's names, so the path of a parameter joined with dots is its key, with the leaf renamed
(kernel and scale to weight, mean to running_mean, ...) and the axes of kernels reordered. No table is needed.
"""

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxcls.errors import UserError

_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "mean": "running_mean", "var": "running_var"}
_COLLECTIONS = ("params", "batch_stats")
_LISTED = 50  # keys in an error: another architecture differs in hundreds


def from_state_dict(state: dict, variables: dict) -> dict:
    """`variables` with the values of a PyTorch state dict, in its own shapes and dtypes.

    `variables` may be abstract (`jax.eval_shape` of an init); collections other than `params` and `batch_stats` come
    back as they are. A prefix `module.` on every key and the counters `num_batches_tracked` are passed over.
    Raises UserError, which lists them (the first 50), for keys that are missing, left over or of another shape.
    """
    state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    if state and all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    ours = {_key(path): (path, leaf) for path, leaf in _leaves(variables)}
    wrong = [f"missing {key}" for key in sorted(ours.keys() - state.keys())]
    wrong += [f"unexpected {key}" for key in sorted(state.keys() - ours.keys())]
    new = {}
    for key in sorted(ours.keys() & state.keys()):
        path, leaf = ours[key]
        value = _from_torch_layout(path[-1], np.asarray(state[key]))
        if value.shape != leaf.shape:
            wanted = _torch_shape(path[-1], leaf.shape)
            wrong.append(f"{key} has shape {np.shape(state[key])} where the model has {wanted}")
        else:
            new[path] = jnp.asarray(value, leaf.dtype)
    if wrong:
        listed = "; ".join(wrong[:_LISTED] + [f"and {len(wrong) - _LISTED} more"] * (len(wrong) > _LISTED))
        raise UserError(f"these weights are not this model's, {len(wrong)} keys differ: {listed}")
    kept = {name: tree for name, tree in variables.items() if name not in _COLLECTIONS}
    return {**kept, **traverse_util.unflatten_dict(new)}


def to_state_dict(variables: dict) -> dict[str, np.ndarray]:
    """The PyTorch state dict of `variables`, without the counters `num_batches_tracked` (PyTorch fills them in)."""
    return {_key(path): _to_torch_layout(path[-1], np.asarray(leaf)) for path, leaf in _leaves(variables)}


def _leaves(variables: dict) -> list[tuple[tuple[str, ...], object]]:
    return [(path, leaf) for path, leaf in traverse_util.flatten_dict(variables).items() if path[0] in _COLLECTIONS]


def _key(path: tuple[str, ...]) -> str:
    """("params", "layer1.0", "conv1", "kernel") to "layer1.0.conv1.weight"."""
    return ".".join((*path[1:-1], _LEAVES.get(path[-1], path[-1])))


def _to_torch_layout(leaf: str, value: np.ndarray) -> np.ndarray:
    """Kernels end in (in, out) here and begin with (out, in) there, whatever the number of spatial axes between."""
    return np.moveaxis(value, (-1, -2), (0, 1)) if leaf == "kernel" else value


def _from_torch_layout(leaf: str, value: np.ndarray) -> np.ndarray:
    return np.moveaxis(value, (0, 1), (-1, -2)) if leaf == "kernel" and value.ndim > 1 else value


def _torch_shape(leaf: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[-1], shape[-2], *shape[:-2]) if leaf == "kernel" else tuple(shape)
