"""Transforms inside the compiled step: the registry of all of them, and lists of them composed.

Batched, in jax.numpy, one key an example; base.py says what an operation is.
"""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np

from jaxcls.augment import crops, flips
from jaxcls.augment.base import Context, batch_keys, of_pictures, pair_keys, select
from jaxcls.errors import UserError


def compose(operations, context=None):
    """(keys, batch) -> batch: the operations in order, each with keys of its own, then `(x / 255 - mean) / std`.

    The pictures become float32. Where an operation mixes examples, labels become float32 [n, classes] first.
    """
    context = context or Context()
    mean, std = (np.asarray(value, np.float32) for value in (context.mean, context.std))
    mixes = any(getattr(operation, "mixes", None) for operation in operations)

    def transform(keys, batch):
        if mixes:
            batch = {**batch, "label": jax.nn.one_hot(batch["label"], context.classes)}
        for i, operation in enumerate(operations):
            batch = operation(None if keys is None else fold(keys, i), batch)
        return {**batch, "image": (batch["image"].astype(jnp.float32) / 255 - mean) / std}

    return transform


def one_of(*operations, weights, context=None):
    """One of the operations, chosen for each example; where they mix examples, for each pair or each batch.

    All are computed, and must give pictures of the same size.
    """
    share = np.asarray(weights, np.float32) / np.sum(weights)
    units = {getattr(operation, "mixes", None) for operation in operations}
    if len(units) > 1:
        raise ValueError("alternatives must all mix pairs, all mix by batch, or all not mix")
    unit = units.pop()

    def operation(keys, batch):
        unit_keys = {
            None: lambda: keys,
            "pair": lambda: pair_keys(keys),
            "batch": lambda: batch_keys(context or Context(), batch),
        }
        own = fold(unit_keys[unit](), len(operations))
        drawn = jax.vmap(lambda key: jax.random.choice(key, len(operations), p=share))(own)
        results = [operation(fold(keys, i), batch) for i, operation in enumerate(operations)]
        out = results[0]
        for i, result in enumerate(results[1:], start=1):
            if result["image"].shape != out["image"].shape:
                raise UserError("the alternatives of a | b must leave pictures of the same size")
            out = {k: out[k] if out[k] is v else select(drawn == i, v, out[k]) for k, v in result.items()}
        return out

    operation.mixes = unit
    return operation


def fold(keys, number):
    """Keys [n] of the same examples, for another use."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def build(factory, args, kwargs, context):
    """The operation of a factory, which gets the context if it has a parameter of that name."""
    if "context" in inspect.signature(factory).parameters:
        factory = functools.partial(factory, context=context)
    return factory(*args, **kwargs)


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

    return of_pictures(operation)


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

    return of_pictures(operation)


DEVICE = {**crops.OPERATIONS, **flips.OPERATIONS, "grey": grey, "hsv": hsv}
FIXED = ("resize", "center_crop", "grey", "hsv")  # not random: may be used in evaluation
LAST = ()  # make float32 pictures: nothing but these may follow them
