"""Transforms inside the compiled step: the registry of all of them, and lists of them composed.

Batched, in jax.numpy, one key an example; base.py says what an operation is.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcls.augment import colour, crops, device_clips, erasing, flips, mixing, policies, spatial
from jaxcls.augment.base import Context, Mixing, Operation, batch_keys, fold, pair_keys, select
from jaxcls.errors import UserError
from jaxcls.types import Batch


def compose(
    operations: Sequence[Operation], context: Context | None = None, names: Sequence[str | None] | None = None
) -> Operation:
    """(keys, batch) -> batch: the operations in order, each with keys of its own, then `(x / 255 - mean) / std`.

    The pictures become float32. Where an operation mixes examples, labels become float32 [n, classes] first. Maps that
    follow one another resample once (spatial.merge). `names` are those of the operations in DEVICE, by which ranks are
    checked (`check_rank`); None for what checks by itself. Clips [n, t, h, w, c] are mixed as such; all else does the
    same to every frame of a clip (device_clips.by_frame).
    """
    context = context or Context()
    statistics = [np.asarray(value, np.float32) for value in (context.mean, context.std)]
    mixes = any(getattr(operation, "mixes", None) for operation in operations)
    merged = [(positions, _of_clips(operation)) for positions, operation in spatial.merge(operations)]

    def transform(keys, batch):
        if mixes:
            label = batch["label"]  # sets [n, classes] are numbers that can be mixed already
            label = label.astype(jnp.float32) if label.ndim == 2 else jax.nn.one_hot(label, context.classes)
            batch = {**batch, "label": label}
        for positions, operation in merged:
            for i in positions if names else ():
                check_rank(names[i], batch)
            batch = operation(*[None if keys is None else fold(keys, i) for i in positions], batch)
        mean, std = (value[(None,) * (batch["image"].ndim - 1)] for value in statistics)
        return {**batch, "image": (batch["image"].astype(jnp.float32) / 255 - mean) / std}

    return transform


def _of_clips(operation):
    """The operation, frame by frame where it does not see clips as such."""
    whole = getattr(operation, "mixes", None) or isinstance(operation, device_clips.OfClips)
    return operation if whole else device_clips.by_frame(operation)


def check_rank(name: str | None, batch: Batch) -> None:
    """Raises UserError where the transform of that name does not take pictures of this rank, or of so many channels;
    while tracing, so early."""
    shape = batch["image"].shape
    if name and name not in ANY_RANK and len(shape) not in RANKS:
        raise UserError(
            f"{name!r} takes pictures of rank {RANK}, [n, h, w, c], or clips [n, t, h, w, c], not an array of shape "
            f"{shape}."
        )
    if name in COLOURS and shape[-1] not in (1, 3):
        raise UserError(
            f"{name!r} is for grey and colour pictures, and these have {shape[-1]} channels; leave it out (crops, "
            "flips, maps, blur, levels, erasing and mixing take any number)."
        )


def compose_views(
    operations: Sequence[Operation],
    drawn_anew: Sequence[bool],
    context: Context | None = None,
    names: Sequence[str | None] | None = None,
) -> Operation:
    """As `compose`, with two further views of each picture in `batch["views"]`, float32 [n, 2, h, w, c].

    `drawn_anew`, a bool for each operation, says which are left out of `batch["image"]` and use keys of their own in
    the second further view; the others do the same to all three. The first further view is what `compose` makes.
    """

    def version(other):
        changed = [other(op) if anew else op for op, anew in zip(operations, drawn_anew, strict=True)]
        return compose(changed, context, names)

    def again(operation):
        return lambda keys, batch: operation(fold(keys, SECOND), batch)

    clean, first, second = version(lambda _: lambda keys, batch: batch), version(lambda op: op), version(again)

    def transform(keys, batch):
        views = [view(keys, batch)["image"] for view in (first, second)]
        return {**clean(keys, batch), "views": jnp.stack(views, axis=1)}

    return transform


def views_anew(transform: Operation, count: int) -> Operation:
    """As a transform (from `compose`, mixing no examples), with `count` views of each picture in "views".

    View v, [:, v] of float32 [n, count, h, w, c], has keys of its own, so whatever is drawn from keys is drawn anew;
    view 0, which is "image" too, has those of the example and is what the transform alone makes. Where the batch comes
    with views, uint8 [n, count, ...] (pipeline.Stream), view v is made from the v-th of them, otherwise all from
    "image". The transform sees the views as one batch, a picture's next to each other: it is compiled once, and what is
    on one device stays there.
    """

    def operation(keys, batch):
        given = batch.get("views")
        if given is not None and given.shape[1] != count:
            raise ValueError(f"{count} views can't be made from views {given.shape}")
        single = {name: value for name, value in batch.items() if name != "views"}
        every = {name: jnp.repeat(value, count, axis=0) for name, value in single.items()}
        if given is not None:
            every["image"] = given.reshape(-1, *given.shape[2:])
        own = jnp.stack([fold(keys, VIEW + v) if v else keys for v in range(count)], axis=1).reshape(-1)
        made = transform(own, every)["image"]
        views = made.reshape(-1, count, *made.shape[1:])
        return {**single, "image": views[:, 0], "views": views}

    return operation


def views_apart(transforms: Sequence[Operation]) -> Operation:
    """As `views_anew`, with a transform of its own for each view: each sees the keys that it has there.

    Raises UserError, while traced, where they make pictures of different sizes.
    """

    def operation(keys, batch):
        given = batch.get("views")
        single = {name: value for name, value in batch.items() if name != "views"}
        made = []
        for v, transform in enumerate(transforms):
            own = single if given is None else {**single, "image": given[:, v]}
            made.append(transform(fold(keys, VIEW + v) if v else keys, own)["image"])
        if len({image.shape for image in made}) > 1:
            raise UserError("config.data.augment and augment_second must leave pictures of the same size")
        return {**single, "image": made[0], "views": jnp.stack(made, axis=1)}

    return operation


def one_of(
    *operations: Operation,
    weights: Sequence[float],
    context: Context | None = None,
    names: Sequence[str | None] | None = None,
) -> Operation:
    """One of the operations, chosen for each example; where they mix examples, for each pair or each batch.

    All are computed, and must give pictures of the same size. `names` as of `compose`.
    """
    share = np.asarray(weights, np.float32) / np.sum(weights)
    units = {getattr(operation, "mixes", None) for operation in operations}
    if len(units) > 1:
        raise ValueError("alternatives must all mix pairs, all mix by batch, or all not mix")
    unit = units.pop()

    def operation(keys, batch):
        for name in names or ():
            check_rank(name, batch)
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

    return Mixing(operation, unit) if unit else operation


def build(
    factory: Callable[..., Operation], args: Sequence[Any], kwargs: dict[str, Any], context: Context
) -> Operation:
    """The operation of a factory, which gets the context if it has a parameter of that name."""
    if "context" in inspect.signature(factory).parameters:
        factory = functools.partial(factory, context=context)
    return factory(*args, **kwargs)


SECOND = 0x7632  # what the keys of an operation are folded with in the second further view
VIEW = 0x76690000  # and, plus v, the keys of all operations in view v of `views_anew`
RANK = 4
RANKS = (RANK, device_clips.RANK)
ANY_RANK = (*colour.ANY_RANK, *mixing.ANY_RANK)  # the others take pictures and clips
POLICIES = tuple(policies.OPERATIONS)
COLOURS = (*colour.COLOURS, *POLICIES)  # take 1 or 3 channels alone
LAST = {**erasing.OPERATIONS, **mixing.OPERATIONS}  # make float32 pictures: nothing but these may follow them
DEVICE = {
    **device_clips.OPERATIONS,
    **crops.OPERATIONS,
    **flips.OPERATIONS,
    **spatial.OPERATIONS,
    **colour.OPERATIONS,
    **policies.OPERATIONS,
    **LAST,
}
FIXED = ("resize", "center_crop", "grey", "hsv", *device_clips.FIXED)  # not random: may be used in evaluation
