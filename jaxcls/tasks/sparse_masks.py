"""Masks that hold weights at zero while a net is trained: which weights go, and when.

Kernels are dicts of arrays by the names of parameters; masks are bool of the same shapes, False where a weight is zero.
What is masked once stays so: it counts as smaller than any weight.
"""

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxcls.hyperparameters import number

Arrays = Mapping[str, Array]
LARGEST = np.int32(2**31 - 1)


@dataclasses.dataclass(frozen=True)
class Magnitude:
    """The smallest weights go, more and more of them: Zhu and Gupta 2017 (arXiv 1710.01878), equation 1, from none.

    After t updates the share is `share * (1 - (1 - (t - begin) / (end - begin))**3)`, from `end` on `share`. The paper
    computes it every dt updates from `begin`; here at `end` besides, so that it need not be a multiple.

    Attributes:
      sizes: name -> number of weights of the kernels that are masked.
      share: of zeros in the end, rounded to whole weights.
      whole: the smallest of all kernels together ("global"), not of each.
      begin, end, every: updates.
    """

    sizes: Mapping[str, int]
    share: float
    whole: bool
    begin: int
    end: int
    every: int

    @property
    def names(self) -> tuple[str, ...]:
        """The kernels."""
        return tuple(self.sizes)

    @property
    def counts(self) -> list[int]:
        """How many weights are zero in the end: of each kernel, or of all."""
        sizes = self.sizes.values()
        return [math.floor(self.share * n + 0.5) for n in ([sum(sizes)] if self.whole else sizes)]

    @property
    def target(self) -> float:
        """The share of zeros among all weights of the kernels in the end."""
        return sum(self.counts) / sum(self.sizes.values())

    def due(self, step: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether the masks are made anew after so many updates. After the end that changes nothing; so a step that
        float16 skips is made good."""
        begin, end, every = (number(getattr(self, key), f"sparsity.{key}") for key in ("begin", "end", "every"))
        since = step - begin
        return (since >= 0) & ((since % every == 0) | (step == end))

    def make(self, kernels: Arrays, masks: Arrays, step: Int[Array, ""]) -> dict[str, Array]:
        """The masks after so many updates."""
        begin, span = number(self.begin, "sparsity.begin"), number(max(self.end - self.begin, 1), "sparsity.span")
        final = jnp.asarray(number(self.counts, "sparsity.counts"))
        now = jnp.floor(final * cubic((step - begin) / span) + 0.5).astype(jnp.int32)
        counts = jnp.where(step >= number(self.end, "sparsity.end"), final, jnp.minimum(now, final))
        keys = {name: _keys(kernels[name], masks[name]).ravel() for name in self.names}
        if self.whole:
            flat = above(jnp.concatenate(list(keys.values()))[None], counts)[0]
            parts = dict(zip(keys, jnp.split(flat, np.cumsum(list(self.sizes.values()))[:-1]), strict=True))
        else:
            parts = {}
            for size in dict.fromkeys(self.sizes.values()):  # kernels of one size together: less to compile
                names = [name for name in keys if self.sizes[name] == size]
                own = counts[np.array([self.names.index(name) for name in names])]
                parts |= zip(names, above(jnp.stack([keys[name] for name in names]), own), strict=True)
        return {name: part.reshape(masks[name].shape) for name, part in parts.items()}


@dataclasses.dataclass(frozen=True)
class TwoOfFour:
    """Of four consecutive inputs of each output the two smallest weights go (Mishra et al. 2021, arXiv 2104.08378).

    They go at once, after `begin` updates (at least one).

    Attributes:
      axes: name -> axis of the inputs, a multiple of four, of the kernels that are masked.
      sizes: name -> number of weights of these, and of those that are left as they are.
      begin: updates.
    """

    axes: Mapping[str, int]
    sizes: Mapping[str, int]
    begin: int

    @property
    def names(self) -> tuple[str, ...]:
        """The kernels that are masked."""
        return tuple(self.axes)

    @property
    def target(self) -> float:
        """The share of zeros among all weights of the kernels, those that are left among them."""
        return sum(self.sizes[name] for name in self.axes) / 2 / sum(self.sizes.values())

    def due(self, step: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether the masks are made after so many updates. Again changes nothing."""
        return step >= number(self.begin, "sparsity.begin")

    def make(self, kernels: Arrays, masks: Arrays, step: Int[Array, ""]) -> dict[str, Array]:
        """The masks."""
        del step
        return {name: two_of_four(_keys(kernels[name], masks[name]), axis) for name, axis in self.axes.items()}


def cubic(x: Float[Array, ""]) -> Float[Array, ""]:
    """What share of the final zeros there is when a share `x` of the way is done: fast first, then slower."""
    return 1 - (1 - jnp.clip(x, 0.0, 1.0)) ** 3


def above(keys: Int[Array, "m n"], counts: Int[Array, " m"]) -> Bool[Array, "m n"]:
    """False at the `counts[i]` smallest of each row of keys that are not negative; of equals the first go.

    By bisection, a pass over the keys for each bit: on CPUs nine times faster than sorting them.
    """
    value = _smallest(keys, counts)[:, None]
    fewer = jnp.sum(keys < value, axis=1)
    places = jnp.where(keys == value, jnp.arange(1, keys.shape[1] + 1)[None], LARGEST)  # of what equals it
    last = _smallest(places, counts - fewer)[:, None]
    return (keys > value) | ((keys == value) & (places > last))


def _smallest(keys, counts):
    """The counts[i]-th smallest of each row; 0 for none."""

    def halved(_, ends):
        low, high = ends
        middle = low + (high - low) // 2
        enough = jnp.sum(keys <= middle[:, None], axis=1) >= counts
        return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

    return jax.lax.fori_loop(0, 31, halved, (jnp.zeros_like(counts), jnp.full_like(counts, LARGEST)))[0]


def two_of_four(keys: Array, axis: int) -> Array:
    """False at the two smallest of each four neighbours along an axis; of equals the first go."""
    fours = jnp.moveaxis(keys, axis, -1)
    own = fours.reshape(*fours.shape[:-1], -1, 4)
    one, other = own[..., :, None], own[..., None, :]
    earlier = jnp.tril(jnp.ones((4, 4), bool), -1).reshape((1,) * (own.ndim - 1) + (4, 4))
    rank = jnp.sum((other < one) | ((other == one) & earlier), axis=-1)
    return jnp.moveaxis((rank >= 2).reshape(fours.shape), -1, axis)


def _keys(kernel, mask):
    """Whole numbers in the order of |w|: the bits of a float that is not negative; 0 for what is masked."""
    bits = jax.lax.bitcast_convert_type(jnp.abs(kernel).astype(jnp.float32), jnp.int32)
    return jnp.where(mask, bits + 1, 0)
