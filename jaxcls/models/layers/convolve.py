"""Convolutions in the form that runs fastest on the backend, with the same values and the same kernels.

XLA's own convolution is what accelerators use. On the CPU some of its cases are up to 60 times slower than need be, so
there (docs/results.md has the figures):

* kernels as large as their stride (1x1, patches) are matrix products: XLA's weight gradient of a 1x1 convolution is a
  convolution with a window as large as the picture;
* grouped convolutions are a few dense ones, over groups taken together with zeros between them;
* depthwise ones are sums of shifted products (`layers.depthwise`);
* the weight gradient of other ones is kept from YNNPACK, which takes 2 to 12 times as long for it as XLA's own code;
* convolutions of clips, over time too, are made of such ones of pictures (`layers.volume`).

These forms but the first have no forward-mode derivative (`jax.jvp`); use `plain()` where one is wanted.
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
from jaxcls.models.layers.depthwise import depthwise
from jaxcls.models.layers.volume import volume

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
WIDTH = 32  # input channels at least that a dense part of a grouped convolution has
PARTS = 8  # dense parts at most: each is an operation to compile
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


def is_plain() -> bool:
    """Whether this is traced within `plain()`."""
    return _PLAIN.get()


def reshapes() -> bool:
    """Whether operations take the forms that the CPU is fast at: traced for it, outside of `plain()`."""
    return not is_plain() and parallel.target().platform == "cpu"


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

    Or of clips `[n, t, h, w, c]` and `[time, h, w, c / groups, features]`. Other layouts and dilated convolutions go to
    XLA as they are.
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
    if not reshapes() or dilated or x.ndim not in (4, 5):
        return native(x, kernel, feature_group_count=feature_group_count)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:-1], kernel.shape[:-2], strides, padding)
        native = functools.partial(native, padding=padding)
    strides, padding = tuple(strides), tuple((before, after) for before, after in padding)
    if x.ndim == 5:
        flat = functools.partial(convolve, feature_group_count=feature_group_count, precision=precision)
        return volume(flat, strides, padding, x, kernel)
    if feature_group_count == x.shape[-1] == kernel.shape[-1] > 1:
        return depthwise(x, kernel, strides, padding)
    if feature_group_count > 1:
        return _grouped(x, kernel, feature_group_count, functools.partial(_dense, strides, padding, precision))
    if not any(map(any, padding)) and kernel.shape[:2] in ((1, 1), strides):
        return _patches(x, kernel, strides, precision)
    return _dense(strides, padding, precision, x, kernel)


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _dense(strides, padding, precision, x, kernel):
    """XLA's own convolution, but for the gradient of its kernel."""
    return _xla(strides, padding, precision, x, kernel)


def _xla(strides, padding, precision, x, kernel):
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=DIMENSIONS, precision=precision)


def _dense_forward(strides, padding, precision, x, kernel):
    return _xla(strides, padding, precision, x, kernel), (x, kernel)


def _dense_backward(strides, padding, precision, saved, grad):
    x, kernel = saved
    native = functools.partial(_xla, strides, padding, precision)
    (to_x,) = jax.linear_transpose(lambda x: native(x, kernel), x)(grad)
    if grad.dtype == jnp.float32:
        return to_x, _kernel_gradient(x, grad, kernel.shape, strides, padding, precision)
    return to_x, jax.linear_transpose(lambda kernel: native(x, kernel), kernel)(grad)[0]


_dense.defvjp(_dense_forward, _dense_backward)


def _kernel_gradient(x, grad, shape, strides, padding, precision):
    """The picture convolved with the gradient, examples in the place of channels.

    Every second row is asked for of a picture with a row of zeros behind each of its own: the same numbers and no more
    work, but YNNPACK leaves such convolutions alone.
    """
    (height, width), (above, before) = x.shape[1:3], (pad[0] for pad in padding)
    # As far as the last place of the kernel needs; where that is not all of the picture, what is over is cut off.
    below = 2 * (shape[0] - 1 + strides[0] * (grad.shape[1] - 1) - above - height + 1)
    behind = shape[1] - 1 + strides[1] * (grad.shape[2] - 1) - before - width + 1
    y = lax.conv_general_dilated(
        x,
        grad,
        window_strides=(2, 1),
        padding=((2 * above, max(0, below)), (before, max(0, behind))),
        lhs_dilation=(2, 1),
        rhs_dilation=(2 * strides[0], strides[1]),
        dimension_numbers=("CHWN", "IHWO", "HWNC"),
        precision=precision,
    )
    return y[: shape[0], : shape[1]]


def _grouped(x, kernel, groups, dense):
    """Dense convolutions over bundles of groups, whose kernels are zero between the groups."""
    inputs, outputs = kernel.shape[2], kernel.shape[3] // groups
    bundle = max(-(-WIDTH // inputs), -(-groups // PARTS))
    parts = []
    for first in range(0, groups, bundle):
        last = min(first + bundle, groups)
        part = _block_diagonal(kernel[..., first * outputs : last * outputs], last - first)
        parts.append(dense(x[..., first * inputs : last * inputs], part))
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)


def _block_diagonal(kernel, groups):
    """`[h, w, c, groups * o]` as `[h, w, groups * c, groups * o]`."""
    h, w, c, features = kernel.shape
    diagonal = jnp.eye(groups, dtype=kernel.dtype)[None, None, :, None, :, None]
    spread = kernel.reshape(h, w, 1, c, groups, features // groups) * diagonal
    return spread.reshape(h, w, groups * c, features)
