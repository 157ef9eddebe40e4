"""What the transforms on the device have in common.

An operation is `(keys [n], batch) -> batch`, with one key an example (None where nothing is random). Pictures are uint8
[n, h, w, c] from one operation to the next, so what Pillow defines on uint8 stays exact; mixing and erasing make
float32 pictures on the same scale, and come last. Those that also take arrays of other ranks, channels last, stand in
`ANY_RANK` of their file.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxcls import hyperparameters
from jaxcls.types import Batch

Operation = Callable[..., Batch]  # (keys [n], batch) -> batch
Range = float | Sequence[float]  # a number or (low, high)
Fill = int | Sequence[int]  # a level or one a channel


@dataclasses.dataclass(frozen=True)
class Context:
    """What an operation may want to know of the run; a factory with a parameter `context` is given it.

    Attributes:
      classes: number of classes.
      mean, std: of the normalisation, one value or one a channel, on the scale of [0, 1].
      seed: of the run.
      batch_size: of the global batch.
    """

    classes: int = 0
    mean: tuple = (0.0,)
    std: tuple = (1.0,)
    seed: int = 0
    batch_size: int = 1


@dataclasses.dataclass(frozen=True)
class Mixing:
    """An operation that mixes examples, by "pair" or by "batch"; it needs float32 labels [n, classes]."""

    operation: Operation
    mixes: str

    def __call__(self, keys: Array, batch: Batch) -> Batch:
        """The mixed batch."""
        return self.operation(keys, batch)


def of_pictures(fn: Callable[[Array, Array], Array]) -> Operation:
    """An operation from a function `(keys, uint8 images) -> uint8 images`."""

    def operation(keys, batch):
        return {**batch, "image": fn(keys, to_uint8(batch["image"]))}

    return operation


def to_uint8(image: Array) -> Array:
    """Pictures on the scale of 0..255 as uint8, rounded and clipped."""
    if image.dtype == jnp.uint8:
        return image
    return jnp.clip(jnp.round(image), 0, 255).astype(jnp.uint8)


def uniform(keys: Array, shape: tuple[int, ...] = (), low: Any = 0.0, high: Any = 1.0) -> Array:
    """float32 [n, *shape] in [low, high), from one key an example."""
    return jax.vmap(lambda key: jax.random.uniform(key, shape, minval=low, maxval=high))(keys)


def fold(keys: Array, number: Any) -> Array:
    """Keys [n] of the same examples, for another use."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def split(keys: Array, parts: int) -> list[Array]:
    """`parts` arrays of keys [n], each independent of the others."""
    return [fold(keys, i) for i in range(parts)]


def chosen(keys: Array, p: float) -> Array:
    """bool [n], each true with probability p."""
    return jax.vmap(jax.random.bernoulli, (0, None))(keys, p)


def select(mask: Array, yes: Array, no: Array) -> Array:
    """`yes` where an example's mask [n] is true, else `no`; arrays [n, ...]."""
    return jnp.where(mask.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)


def check_range(what: str, value: Any, low: float | None = None, high: float | None = None) -> tuple[float, float]:
    """A number or pair of numbers as (low, high) floats; a single number x gives (x, x).

    Raises:
      ValueError: where it is neither, is in the wrong order, or lies outside of [low, high].
    """
    pair = value if isinstance(value, (tuple, list)) else (value, value)
    numbers = [float(v) for v in pair if isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)]
    if len(numbers) != 2 or len(pair) != 2 or numbers[0] > numbers[1]:
        raise ValueError(f"{what} must be a number or a pair (low, high), not {value!r}")
    if (low is not None and numbers[0] < low) or (high is not None and numbers[1] > high):
        raise ValueError(f"{what} must lie between {low} and {high}, not {value!r}")
    return numbers[0], numbers[1]


def check_probability(value: Any, what: str = "p") -> float:
    """The value as a float. Raises ValueError unless it lies in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"{what} is a probability and must be from 0 to 1, not {value!r}")
    return float(value)


def batch_keys(context: Context, batch: Batch) -> Array:
    """Keys [n], the same for all examples of a global batch, however it is cut into shares and micro-batches."""
    base = jax.random.fold_in(hyperparameters.key(context.seed), 0x6D69)  # apart from the keys of examples

    def key(epoch, draw):
        return jax.random.fold_in(jax.random.fold_in(base, epoch), draw // context.batch_size)

    return jax.vmap(key)(batch["epoch"], batch["draw"])


def pair_keys(keys: Array) -> Array:
    """Keys [n] of which the neighbours 2i and 2i+1 have that of 2i; by reshaping, which needs no traffic of devices."""
    half = keys.shape[0] // 2
    even = keys[: 2 * half].reshape(half, 2)[:, :1]
    pairs = jnp.broadcast_to(even, (half, 2)).reshape(-1)
    return pairs if pairs.shape == keys.shape else jnp.concatenate([pairs, keys[2 * half :]])
