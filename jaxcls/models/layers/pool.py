"""Pooling."""

from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from jaxcls.models.layers.apart import apart
from jaxcls.models.layers.convolve import is_plain, reshapes
from jaxcls.models.layers.volume import per_frame, shifted

SMALL = 3  # the largest window that is taken apart on the CPU: each of its places is an operation to compile


def max_pool(x: Array, window: int, stride: int | None = None, padding: int = 0, *, ceil: bool = False) -> Array:
    """Max pooling of `[b, h, w, c]` with the same padding on every side; the stride is the window unless given.

    `ceil`: a last window that hangs over the border counts, too (PyTorch's ceil_mode).

    `x` is what comes out of a ReLU (x >= 0), or the padding is none: it counts as zeros, which are neutral there. In
    `plain()` and on CPUs these are an operation of their own: the converter to ONNX drops the padding of pools, and
    -inf would wreck the ranges of int8. On accelerators the pool itself pads, with -inf, and nothing is copied; where a
    window has no more than zeros their gradient then goes to one of `x`, and ends in the ReLU.
    """
    stride = stride or window
    over = _overhang(x.shape[1:3], window, stride, padding) if ceil else (0, 0)
    pads = tuple((padding, padding + more) for more in over)
    if not reshapes() and not is_plain():
        return nn.max_pool(x, window_shape=(window, window), strides=(stride, stride), padding=pads)
    if padding or any(over):
        x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    if window <= SMALL and reshapes():
        return _largest(window, stride, x.shape, x)
    return nn.max_pool(x, window_shape=(window, window), strides=(stride, stride))


Pair = tuple[int, int]


def max_pool_clips(x: Array, window: Pair, stride: Pair, padding: Pair = (0, 0)) -> Array:
    """As `max_pool`, of clips `[n, t, h, w, c]`: each argument is (over time, over height and over width).

    On the CPU over places, then over time.
    """
    if not reshapes():
        size, step, pads = ((time, side, side) for time, side in (window, stride, padding))
        around = tuple((n, n) for n in pads)
        if is_plain():
            x, around = jnp.pad(x, ((0, 0), *around, (0, 0))), ((0, 0),) * 3
        return nn.max_pool(x, size, strides=step, padding=around)
    x = per_frame(max_pool, x, window=window[1], stride=stride[1], padding=padding[1])
    return reduce(jnp.maximum, shifted(x, window[0], stride[0], (padding[0], padding[0])))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _largest(window, stride, shape, x):
    """Max pooling as the larger of shifted pictures; of equal ones the first gets the gradient, as in PyTorch.

    XLA:CPU takes 7 to 25 times as long for the gradient of its own pooling (docs/results.md).
    """
    return _largest_forward(window, stride, shape, x)[0]


def _largest_forward(window, stride, shape, x):
    """The maxima, and the number of the place in the window that each came from."""
    height, width = ((size - window) // stride * stride + 1 for size in shape[1:3])
    first, *others = (x[:, i : i + height : stride, j : j + width : stride] for i, j in _places(window))
    largest, place = first, jnp.zeros(first.shape, jnp.int32)  # as wide as the values: else in no vectors
    for n, other in enumerate(others, 1):
        stays = (largest >= other) | jnp.isnan(largest)  # a NaN is not lost
        largest, place = jnp.where(stays, largest, other), jnp.where(stays, place, n)
    return largest, place


def _largest_backward(window, stride, shape, place, grad):
    """Adds up what the windows give back in every stride-th row and column apart, then puts these side by side."""
    b, height, width, c = shape
    rows, columns = -(-height // stride), -(-width // stride)
    parts = [[jnp.zeros((b, rows, columns, c), grad.dtype) for _ in range(stride)] for _ in range(stride)]
    for n, (i, j) in enumerate(_places(window)):
        above, before = i // stride, j // stride
        around = ((above, rows - above - grad.shape[1]), (before, columns - before - grad.shape[2]))
        given = jnp.pad(jnp.where(place == n, grad, 0), ((0, 0), *around, (0, 0)))
        parts[i % stride][j % stride] += given
    x = jnp.stack([jnp.stack(row, 3) for row in parts], 2).reshape(b, rows * stride, columns * stride, c)
    # Behind a barrier: fused with what follows, every value would be looked for in all parts.
    return (jax.lax.optimization_barrier(x[:, :height, :width]),)


_largest.defvjp(_largest_forward, _largest_backward)


def _places(window):
    return [(i, j) for i in range(window) for j in range(window)]


def avg_pool(
    x: Array,
    window: int,
    stride: int | None = None,
    padding: int = 0,
    *,
    ceil: bool = False,
    count_padding: bool = True,
) -> Array:
    """Average pooling; arguments as in `max_pool`.

    With `count_padding` the zeros around the picture count in the mean, as in PyTorch unless told otherwise; what
    hangs over because of `ceil` never does.
    """
    stride = stride or window
    over = _overhang(x.shape[1:3], window, stride, padding) if ceil else (0, 0)
    pads = tuple((padding, padding + more) for more in over)
    if not padding and not any(over):
        return nn.avg_pool(x, window_shape=(window, window), strides=(stride, stride))
    total = nn.avg_pool(jnp.pad(x, ((0, 0), *pads, (0, 0))), window_shape=(window, window), strides=(stride, stride))
    shares = [
        _counted(size, window, stride, *pad, padding if count_padding else 0)
        for size, pad in zip(x.shape[1:3], pads, strict=True)
    ]
    return total * jnp.asarray(window**2 / np.outer(*shares)[None, ..., None], x.dtype)


def _overhang(sizes, window, stride, padding):
    """How far the last window of ceil mode hangs over; PyTorch leaves it away if it would begin in the far padding."""
    over = []
    for size in sizes:
        n = -(-(size + 2 * padding - window) // stride) + 1
        n -= (n - 1) * stride >= size + padding
        over.append(max(0, (n - 1) * stride + window - size - 2 * padding))
    return tuple(over)


def _counted(size, window, stride, before, after, counts):
    """For each window along an axis, how many of its places count: the picture and `counts` of padding around it."""
    places = np.arange(-before, size + after)
    inside = (places >= -counts) & (places < size + counts)
    starts = range(0, len(places) - window + 1, stride)
    return np.array([inside[start : start + window].sum() for start in starts])


def global_mean(x: Array) -> Array:
    """The mean over all places: `[b, h, w, c]`, or `[b, t, h, w, c]`, of any float type to float32 `[b, c]`."""
    if x.shape[0] == 1:  # for one picture alone that is slower
        x = apart(x)
    return jnp.mean(x, axis=tuple(range(1, x.ndim - 1)), dtype=jnp.float32)


def global_max(x: Array) -> Array:
    """The maximum over all places: `[b, h, w, c]`, or `[b, t, h, w, c]`, to `[b, c]`."""
    if is_plain():
        return jnp.max(x, tuple(range(1, x.ndim - 1)))
    return largest(x.reshape(x.shape[0], -1, x.shape[-1]), 1)


def largest(x: Array, axis: int) -> Array:
    """`jnp.max(x, axis)` whose gradient goes to the first of equal maxima, and always to one.

    That of `jnp.max` goes to whatever equals the maximum, divided by how many do. Where XLA computes `x` once for the
    maximum and again for the comparison, with another rounding, none does: 0/0 (seen in CBAM on a CPU).
    """
    axis %= x.ndim
    if is_plain():  # for export and counting there is no gradient
        return jnp.max(x, axis)
    places = jax.lax.broadcasted_iota(jnp.int32, x.shape, axis)
    return jnp.sum(jnp.where(places == jnp.argmax(x, axis, keepdims=True), x, 0), axis)


def adaptive_avg_pool(x: Array, size: int) -> Array:
    """Average pooling of `[b, h, w, c]` to `[b, size, size, c]`, whatever the picture's size, as PyTorch does it.

    Window i of n along an axis of m reaches from floor(i m / n) to ceil((i + 1) m / n): windows overlap where n does
    not divide m, and repeat pixels where m < n. Means are taken in float32.
    """
    if x.shape[1:3] == (size, size):
        return x
    rows, columns = (_windows(length, size) for length in x.shape[1:3])
    total = jnp.einsum("bhwc,ih,jw->bijc", x.astype(jnp.float32), rows, columns, precision="highest")
    return (total / np.outer(rows.sum(1), columns.sum(1))[..., None]).astype(x.dtype)


def _windows(length: int, size: int) -> np.ndarray:
    """`[size, length]`, one where a place lies inside a window of adaptive pooling, else zero."""
    starts = np.arange(size) * length // size
    ends = -(-np.arange(1, size + 1) * length // size)
    places = np.arange(length)
    return ((places >= starts[:, None]) & (places < ends[:, None])).astype(np.float32)
