"""Transforms inside the compiled step: batched, in jax.numpy, one key an example.

An operation is `(keys [n], images) -> images`, images being [n, h, w, c] in 0..255, uint8 or float32 as they come.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcls.augment.boxes import TRIES, check_size, crop_box, resized
from jaxcls.errors import UserError

RANDOM = ("crop", "flip", "random_resized_crop")


def compose(operations, mean, std):
    """(keys, batch) -> batch: the operations in order, each with keys of its own, then `(x / 255 - mean) / std`.

    The result is float32; mean and std have one value, or one a channel, on the scale of [0, 1].
    """
    mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)

    def transform(keys, batch):
        image = batch["image"]
        for i, operation in enumerate(operations):
            own = None if keys is None else jax.vmap(jax.random.fold_in, (0, None))(keys, i)
            image = operation(own, image)
        image = (image.astype(jnp.float32) / 255 - mean) / std
        return {**batch, "image": image}

    return transform


def crop(size, pad=0, mode="zero"):
    """A random size x size window of the picture padded by `pad` on each side.

    mode: "zero" or "reflect" (without repeating the border). Source: He et al., Deep Residual Learning, section 4.2.
    """
    check_size(size)
    modes = {"zero": "constant", "reflect": "reflect"}
    if not isinstance(pad, int) or pad < 0:
        raise ValueError(f"pad must be a whole number, not {pad!r}")
    if mode not in modes:
        raise ValueError(f"mode can be 'zero' or 'reflect', not {mode!r}")

    def operation(keys, image):
        n, height, width, channels = image.shape
        if min(height, width) + 2 * pad < size:
            raise UserError(f"a crop of {size} does not fit into {height}x{width} padded by {pad}")
        padded = jnp.pad(image, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode=modes[mode])
        room = jnp.array([height, width]) + 2 * pad - size + 1
        corners = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, room))(keys)

        def window(x, corner):
            return jax.lax.dynamic_slice(x, (corner[0], corner[1], 0), (size, size, channels))

        return jax.vmap(window)(padded, corners)

    return operation


def flip(p=0.5):
    """Mirrors left and right with probability p."""
    p = float(p)
    if not 0 <= p <= 1:
        raise ValueError(f"a probability must be from 0 to 1, not {p!r}")

    def operation(keys, image):
        mirrored = jax.vmap(jax.random.bernoulli, (0, None))(keys, p)
        return jnp.where(mirrored[:, None, None, None], image[:, :, ::-1], image)

    return operation


def random_resized_crop(size, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)):
    """A random box (boxes.crop_box), resized to size x size with an antialiased bilinear filter.

    The result is float32, rounded to whole levels as Pillow's is.
    """
    check_size(size)

    def operation(keys, image):
        height, width, channels = image.shape[1:]

        def one(key, x):
            uniform = jax.random.uniform(key, (TRIES, 4))
            top, left, h, w = crop_box(uniform, height, width, scale=scale, ratio=ratio, xp=jnp)
            factor = size / jnp.stack([h, w])
            offset = -jnp.stack([top, left]) * factor
            x = x.astype(jnp.float32)
            return jnp.round(jax.image.scale_and_translate(x, (size, size, channels), (0, 1), factor, offset, "linear"))

        return jax.vmap(one)(keys, image)

    return operation


def resize(height, width=None):
    """The short side to `height`, keeping the shape, or exactly to height x width; antialiased bilinear filter.

    The result is float32, rounded to whole levels as Pillow's is.
    """
    check_size(height), width is None or check_size(width)

    def operation(_, image):
        shape = (image.shape[0], *resized(image.shape[1:3], height, width), image.shape[3])
        out = jax.image.resize(image.astype(jnp.float32), shape, "linear", antialias=True)
        return jnp.round(out)

    return operation


def center_crop(size):
    """The central size x size."""
    check_size(size)

    def operation(_, image):
        height, width = image.shape[1:3]
        if min(height, width) < size:
            raise UserError(f"a crop of {size} does not fit into {height}x{width}")
        top, left = round((height - size) / 2), round((width - size) / 2)
        return image[:, top : top + size, left : left + size]

    return operation


def grey(channels=1):
    """Luma (ITU-R 601) of RGB pictures, as Pillow's "L" rounds it, in 1 or 3 equal channels."""
    if channels not in (1, 3):
        raise ValueError(f"channels can be 1 or 3, not {channels!r}")

    def operation(_, image):
        if image.shape[-1] == 1:
            luma = image
        else:
            r, g, b = (image[..., i : i + 1].astype(jnp.int32) for i in range(3))
            luma = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16
        return jnp.repeat(luma.astype(jnp.uint8), channels, axis=-1)

    return operation


def hsv():
    """RGB to hue, saturation, value, each on 0..255 (hue: 255 is once round), as Pillow's "HSV"."""

    def operation(_, image):
        x = image.astype(jnp.float32)
        value, low = x.max(-1), x.min(-1)
        spread = value - low
        safe = jnp.where(spread == 0, 1, spread)
        r, g, b = ((value - x[..., i]) / safe for i in range(3))
        hue = jnp.where(x[..., 0] == value, b - g, jnp.where(x[..., 1] == value, 2 + r - b, 4 + g - r))
        hue = jnp.where(spread == 0, 0, (hue / 6) % 1.0)
        saturation = jnp.where(value == 0, 0, spread / jnp.where(value == 0, 1, value))
        return jnp.stack([jnp.floor(hue * 255), jnp.floor(saturation * 255), value], axis=-1)

    return operation


DEVICE = {
    "crop": crop,
    "flip": flip,
    "random_resized_crop": random_resized_crop,
    "resize": resize,
    "center_crop": center_crop,
    "grey": grey,
    "hsv": hsv,
}
