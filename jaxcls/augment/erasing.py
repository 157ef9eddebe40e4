"""Boxes of a picture erased: RandomErasing and Cutout. They make float32 pictures on the scale of 0..255.

Both papers erase after normalising. Here the fill is converted to the scale before it, so that normalising, which comes
after all operations, gives exactly that.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcls.augment.base import Context, Operation, check_probability, check_range, chosen, split, uniform
from jaxcls.augment.boxes import TRIES, Pair, check_size


def random_erasing(
    p: float = 0.25,
    scale: Pair = (0.02, 0.33),
    ratio: Pair = (0.3, 3.3),
    value: str | float = "zero",
    *,
    context: Context,
) -> Operation:
    """Erases a random box with probability p.

    The box is torchvision's: ten candidates, the first that is smaller than the picture on both sides; where none is,
    nothing is erased. Source: Zhong et al., Random Erasing Data Augmentation, algorithm 1.

    Args:
      p: probability, for each example by itself.
      scale: range of the box's share of the area.
      ratio: range of its height / width, drawn evenly in its logarithm.
      value: of what is erased, after normalising: "zero" (the mean colour), "noise" (standard normal, one value a
        pixel and channel; timm's mode "pixel") or a number.
      context: base.Context, for the normalisation.

    Raises:
      ValueError: for impossible arguments.
    """
    p = check_probability(p)
    scale, ratio = check_range("scale", scale, 0, 1), check_range("ratio", ratio, 0)
    if ratio[0] == 0:
        raise ValueError(f"ratio must be above 0, not {ratio!r}")
    number = math.nan if isinstance(value, (str, bool)) else value
    if value not in ("zero", "noise") and not (isinstance(number, (int, float)) and math.isfinite(number)):
        raise ValueError(f"value can be 'zero', 'noise' or a number, not {value!r}")

    def operation(keys, batch):
        image = batch["image"]
        whether, where, what = split(keys, 3)
        numbers = uniform(where, (TRIES, 4))
        boxes = jax.vmap(lambda u: erasing_box(u, *image.shape[1:3], scale=scale, ratio=ratio))(numbers)
        boxes = jnp.where(chosen(whether, p)[:, None], boxes, 0)
        if value == "noise":
            fill = jax.vmap(lambda key: jax.random.normal(key, image.shape[1:]))(what)
        else:
            fill = jnp.float32(0 if value == "zero" else number)
        return {**batch, "image": erase(image, boxes, denormalise(fill, context))}

    return operation


def cutout(size: int, p: float = 1.0, *, context: Context) -> Operation:
    """Erases a square centred on any pixel, clipped at the border, with probability p; zero after normalising.

    Of a side of 2k or 2k + 1 pixels k lie above and left of the centre. The authors' code makes the side of an odd size
    one less. Source: DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout,
    section 3.2.

    Raises:
      ValueError: unless size is a whole number of at least 1 and p a probability.
    """
    check_size(size), check_probability(p)

    def operation(keys, batch):
        image = batch["image"]
        height, width = image.shape[1:3]
        whether, where = split(keys, 2)
        centre = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, jnp.array([height, width])))(where)
        first = centre - size // 2
        last = jnp.minimum(first + size, jnp.array([[height, width]]))
        boxes = jnp.concatenate([jnp.maximum(first, 0), last], axis=1)
        boxes = jnp.where(chosen(whether, p)[:, None], boxes, 0)
        return {**batch, "image": erase(image, boxes, denormalise(jnp.float32(0), context))}

    return operation


def erasing_box(uniform: Array, height: int, width: int, *, scale: Pair, ratio: Pair) -> Array:
    """torchvision's box of RandomErasing from [TRIES, 4] numbers in [0, 1): area, ratio, top, left of each candidate.

    Returns int32 [4]: top, left, bottom, right, the last two exclusive; all 0 where no candidate fits.
    """
    area = height * width * (scale[0] + (scale[1] - scale[0]) * uniform[:, 0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = jnp.exp(low + (high - low) * uniform[:, 1])
    h, w = jnp.round(jnp.sqrt(area * aspect)), jnp.round(jnp.sqrt(area / aspect))
    fits = (h < height) & (w < width)
    top = jnp.floor(uniform[:, 2] * (height - h + 1))
    left = jnp.floor(uniform[:, 3] * (width - w + 1))
    boxes = jnp.stack([top, left, top + h, left + w], axis=1)
    return jnp.where(jnp.any(fits), boxes[jnp.argmax(fits)], 0).astype(jnp.int32)


def erase(images: Array, boxes: Array, fill: Array) -> Array:
    """float32 pictures [n, h, w, c] with the boxes [n, 4] (top, left, bottom, right) replaced by `fill`."""
    fill = jnp.expand_dims(fill, range(images.ndim - jnp.ndim(fill)))
    return jnp.where(inside(boxes, *images.shape[1:3]), fill, images.astype(jnp.float32))


def inside(boxes: Array, height: int, width: int) -> Array:
    """bool [n, height, width, 1]: which pixels lie in the boxes [n, 4] (top, left, bottom, right; the last two out)."""
    top, left, bottom, right = (boxes[:, i, None] for i in range(4))
    y, x = jnp.arange(height)[None], jnp.arange(width)[None]
    rows, columns = (y >= top) & (y < bottom), (x >= left) & (x < right)
    return (rows[:, :, None] & columns[:, None, :])[..., None]


def denormalise(x: Array, context: Context) -> Array:
    """What becomes x (any shape that ends in channels, or a scalar) after normalising, on the scale of 0..255."""
    lead = (1,) * max(0, x.ndim - 1)
    mean, std = (np.asarray(value, np.float32).reshape(*lead, -1) for value in (context.mean, context.std))
    return 255 * (x * std + mean)


OPERATIONS = {"random_erasing": random_erasing, "cutout": cutout}
