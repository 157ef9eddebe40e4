"""Convolutions in the form that runs fastest on the backend, with the same values and the same kernels.

XLA's own convolution is what accelerators use. On the CPU some of its cases are up to 60 times slower than need be, so
there (docs/results.md has the figures):

* kernels as large as their stride (1x1, patches) are matrix products: XLA's weight gradient of a 1x1 convolution is a
  convolution with a window as large as the picture;
* grouped convolutions are a few dense ones, over groups taken together with zeros between them;
* depthwise ones are sums of shifted products;
* the weight gradient of other ones is added up over parts of a large batch, which stay in the cache.

The depthwise form and large batches have no forward-mode derivative (`jax.jvp`); use `plain()` where one is wanted.
"""

import contextlib
import contextvars
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxcls import parallel

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
WIDTH = 32  # input channels at least that a dense part of a grouped convolution has
PARTS = 8  # dense parts at most: each is an operation to compile
PART = 32  # examples whose weight gradient is computed at a time
CACHED = 2**15  # values of a gradient that are worked on at a time
_PLAIN = contextvars.ContextVar("plain", default=False)


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """Within it, what is traced uses XLA's own convolution on every backend: for export, and for counting.

    JAX keeps the trace of a function that it has seen before: give it a new one (`lambda x: f(x)`).
    """
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def reshapes() -> bool:
    """Whether operations take the forms that the CPU is fast at: traced for it, outside of `plain()`."""
    return not _PLAIN.get() and parallel.target().platform == "cpu"


def convolve(
    x: Array,
    kernel: Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    *,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    precision: Any = None,
) -> Array:
    """`lax.conv_general_dilated` of `[b, h, w, c]` and `[h, w, c / groups, features]`, for `nn.Conv`.

    Other layouts and dilated convolutions go to XLA as they are.
    """
    native = functools.partial(
        lax.conv_general_dilated,
        window_strides=strides,
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        precision=precision,
    )
    dilated = any(d != 1 for d in (*(lhs_dilation or ()), *(rhs_dilation or ())))
    if not reshapes() or dilated or x.ndim != 4:
        return native(x, kernel, feature_group_count=feature_group_count)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
        native = functools.partial(native, padding=padding)
    strides, padding = tuple(strides), tuple((before, after) for before, after in padding)
    if feature_group_count == x.shape[-1] == kernel.shape[-1] > 1:
        return _depthwise(x, kernel, strides, padding)
    if feature_group_count > 1:
        return _grouped(x, kernel, feature_group_count, native)
    if not any(map(any, padding)) and kernel.shape[:2] in ((1, 1), strides):
        return _patches(x, kernel, strides, precision)
    # parts of a shard would travel between devices
    if x.shape[0] >= 2 * PART and x.shape[0] % PART == 0 and parallel.target().devices == 1:
        return _in_parts(x, kernel, native)
    return native(x, kernel)


def _patches(x, kernel, strides, precision):
    """Each pixel of the result is a matrix product of a patch of its own."""
    height, width, channels, features = kernel.shape
    if (height, width) == (1, 1):
        x = x[:, :: strides[0], :: strides[1]]
    b, h, w = x.shape[0], x.shape[1] // height, x.shape[2] // width
    x = x[:, : h * height, : w * width]  # what is over sees no window
    x = x.reshape(b, h, height, w, width, channels).transpose(0, 1, 3, 2, 4, 5)
    y = jnp.dot(x.reshape(b * h * w, -1), kernel.reshape(-1, features), precision=precision)
    return y.reshape(b, h, w, features)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _in_parts(x, kernel, native):
    """XLA's own convolution, its weight gradient a sum over parts of the batch (in no loop: docs/design.md)."""
    return native(x, kernel)


def _in_parts_backward(native, saved, grad):
    x, kernel = saved
    (to_x,) = jax.linear_transpose(lambda x: native(x, kernel), x)(grad)
    total = 0
    for first in range(0, x.shape[0], PART):
        part = x[first : first + PART]
        total += jax.linear_transpose(lambda k, part=part: native(part, k), kernel)(grad[first : first + PART])[0]
    return to_x, total


_in_parts.defvjp(lambda x, kernel, native: (native(x, kernel), (x, kernel)), _in_parts_backward)


def _grouped(x, kernel, groups, native):
    """Dense convolutions over bundles of groups, whose kernels are zero between the groups."""
    inputs, outputs = kernel.shape[2], kernel.shape[3] // groups
    bundle = max(-(-WIDTH // inputs), -(-groups // PARTS))
    parts = []
    for first in range(0, groups, bundle):
        last = min(first + bundle, groups)
        part = _block_diagonal(kernel[..., first * outputs : last * outputs], last - first)
        parts.append(native(x[..., first * inputs : last * inputs], part))
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)


def _block_diagonal(kernel, groups):
    """`[h, w, c, groups * o]` as `[h, w, groups * c, groups * o]`."""
    h, w, c, features = kernel.shape
    diagonal = jnp.eye(groups, dtype=kernel.dtype)[None, None, :, None, :, None]
    spread = kernel.reshape(h, w, 1, c, groups, features // groups) * diagonal
    return spread.reshape(h, w, groups * c, features)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(x, kernel, strides, padding):
    """Each channel of `[b, h, w, c]` with its own window of `[h, w, 1, c]`: the sum of shifted copies times weights."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    total = 0
    for i, j in _taps(kernel):
        total += _shifted(x, i, j, kernel.shape, strides) * kernel[i, j, :1, None, None]
    return total


def _depthwise_forward(x, kernel, strides, padding):
    return _depthwise(x, kernel, strides, padding), (x, kernel)


def _depthwise_backward(strides, padding, saved, grad):
    x, kernel = saved
    return _input_gradient(grad, kernel, x.shape, strides, padding), _kernel_gradient(x, grad, kernel, strides, padding)


def _input_gradient(grad, kernel, shape, strides, padding):
    """A depthwise convolution again: of the gradient with zeros between its pixels, with the window turned round."""
    around = []
    for n, out, k, s, (before, _) in zip(shape[1:3], grad.shape[1:3], kernel.shape, strides, padding, strict=False):
        low = k - 1 - before
        around.append((low, n + k - 1 - low - (out - 1) * s - 1, s - 1))
    spread = lax.pad(grad, jnp.zeros((), grad.dtype), ((0, 0, 0), *around, (0, 0, 0)))
    return _depthwise(spread, kernel[::-1, ::-1], (1, 1), ((0, 0), (0, 0)))


def _kernel_gradient(x, grad, kernel, strides, padding):
    """In float32, over a few rows of one picture at a time: they stay in the cache while every tap passes over them.

    (XLA:CPU is ten times slower in one reduction over everything.)
    """
    n, height, width, channels = grad.shape
    parts = -(-height * width * channels // CACHED)
    rows = -(-height // parts)
    parts = -(-height // rows)
    over = parts * rows - height  # rows of zeros that fill up the last part
    x = jnp.pad(x, ((0, 0), (padding[0][0], padding[0][1] + over * strides[0]), padding[1], (0, 0)))
    grad = jnp.pad(grad, ((0, 0), (0, over), (0, 0), (0, 0)))
    below = (rows - 1) * strides[0] + kernel.shape[0]

    def add(total, part):
        i, first = part // parts, part % parts * rows
        pixels = lax.dynamic_slice(x, (i, first * strides[0], 0, 0), (1, below, *x.shape[2:])).astype(jnp.float32)
        grads = lax.dynamic_slice(grad, (i, first, 0, 0), (1, rows, width, channels)).astype(jnp.float32)
        taps = [jnp.sum(_shifted(pixels, i, j, kernel.shape, strides) * grads, (0, 1, 2)) for i, j in _taps(kernel)]
        return total + jnp.stack(taps), None

    zeros = jnp.zeros((kernel.shape[0] * kernel.shape[1], channels), jnp.float32)
    total, _ = lax.scan(add, zeros, jnp.arange(n * parts))
    return total.reshape(kernel.shape).astype(kernel.dtype)


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _taps(kernel):
    return [(i, j) for i in range(kernel.shape[0]) for j in range(kernel.shape[1])]


def _shifted(x, i, j, window, strides):
    """What the place (i, j) of the window sees of a padded `[b, h, w, c]`, one pixel for each of the result."""
    h, w = ((n - k) // s * s + 1 for n, k, s in zip(x.shape[1:3], window, strides, strict=False))
    return lax.slice(x, (0, i, j, 0), (x.shape[0], i + h, j + w, x.shape[3]), (1, *strides, 1))
