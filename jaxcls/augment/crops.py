"""Crops and resizes of pictures that all have one size."""

import jax
import jax.numpy as jnp

from jaxcls.augment.base import Operation, of_pictures, to_uint8
from jaxcls.augment.boxes import TRIES, Pair, check_crop, check_size, crop_box, resized
from jaxcls.data import bounds
from jaxcls.errors import UserError


def crop(size: int, pad: int = 0, mode: str = "zero") -> Operation:
    """A random size x size window of the picture padded by `pad` on each side.

    mode: "zero" or "reflect" (without repeating the border). Source: He et al., Deep Residual Learning, section 4.2.
    """
    check_size(size)
    modes = {"zero": "constant", "reflect": "reflect"}
    if not isinstance(pad, int) or isinstance(pad, bool) or pad < 0:
        raise ValueError(f"pad must be a whole number, not {pad!r}")
    if mode not in modes:
        raise ValueError(f"mode can be 'zero' or 'reflect', not {mode!r}")

    def operation(keys, image):
        n, height, width, channels = image.shape
        if min(height, width) + 2 * pad < size:
            raise UserError(f"a crop of {size} does not fit into {height}x{width} padded by {pad}")
        if pad >= min(height, width):
            raise UserError(f"crop: a pad of {pad} is more than a picture of {height}x{width} has; make it smaller")
        padded = jnp.pad(image, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode=modes[mode])
        room = jnp.array([height, width]) + 2 * pad - size + 1
        corners = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, room))(keys)

        def window(x, corner):
            return jax.lax.dynamic_slice(x, (corner[0], corner[1], 0), (size, size, channels))

        return jax.vmap(window)(padded, corners)

    return of_pictures(operation)


def random_resized_crop(size: int, scale: Pair = (0.08, 1.0), ratio: Pair = (3 / 4, 4 / 3)) -> Operation:
    """A random box (boxes.crop_box), resized to size x size with an antialiased bilinear filter, as Pillow has it."""
    check_size(size)
    scale, ratio = check_crop(scale, ratio)

    def operation(keys, image):
        height, width, channels = image.shape[1:]

        def one(key, x):
            uniform = jax.random.uniform(key, (TRIES, 4))
            top, left, h, w = crop_box(uniform, height, width, scale=scale, ratio=ratio, xp=jnp)
            factor = size / jnp.stack([h, w])
            offset = -jnp.stack([top, left]) * factor
            x = x.astype(jnp.float32)
            return jax.image.scale_and_translate(x, (size, size, channels), (0, 1), factor, offset, "linear")

        return to_uint8(jax.vmap(one)(keys, image))

    return of_pictures(operation)


def resize(height: int, width: int | None = None, resample: str = "bilinear") -> Operation:
    """The short side to `height`, keeping the shape, or exactly to height x width; antialiased.

    resample: "bilinear" or "bicubic", with Pillow's filters (of Keys, IEEE Transactions on Acoustics 29(6), a = -1/2);
    Pillow rounds between its two passes, so values may be a level off.
    """
    check_size(height), width is None or check_size(width)
    methods = {"bilinear": "linear", "bicubic": "cubic"}
    if resample not in methods:
        raise ValueError(f"resample can be {' or '.join(methods)} for pictures in memory, not {resample!r}")

    def operation(_, image):
        target = resized(image.shape[1:3], height, width)
        if width is None and target != image.shape[1:3]:
            bounds.check_resized(*image.shape[1:3], target, "resize")
        shape = (image.shape[0], *target, image.shape[3])
        return to_uint8(jax.image.resize(image.astype(jnp.float32), shape, methods[resample], antialias=True))

    return of_pictures(operation)


def center_crop(size: int) -> Operation:
    """The central size x size."""
    check_size(size)

    def operation(_, image):
        height, width = image.shape[1:3]
        if min(height, width) < size:
            raise UserError(f"a crop of {size} does not fit into {height}x{width}")
        top, left = round((height - size) / 2), round((width - size) / 2)
        return image[:, top : top + size, left : left + size]

    return of_pictures(operation)


OPERATIONS = {
    "crop": crop,
    "random_resized_crop": random_resized_crop,
    "resize": resize,
    "center_crop": center_crop,
}
