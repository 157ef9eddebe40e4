"""Clips [n, t, h, w, c] on the device: which frames, and transforms of pictures that do the same to all of a clip's."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from jaxcls.augment import clips as host
from jaxcls.augment.base import Operation, uniform
from jaxcls.errors import UserError
from jaxcls.types import Batch

RANK = 5


@dataclasses.dataclass(frozen=True)
class OfClips:
    """An operation that sees clips as such, not frame by frame."""

    operation: Operation

    def __call__(self, keys: Array, batch: Batch) -> Batch:
        """The changed batch."""
        return self.operation(keys, batch)


def by_frame(operation: Operation) -> Operation:
    """An operation of pictures [n, h, w, c] as one that takes clips, too, and does the same to each frame.

    The frames become examples, a clip's next to each other, each with the keys and numbers of its clip; so whatever
    draws from them draws the same. Pictures see the operation itself.
    """

    def transform(*arguments):
        *keys, batch = arguments
        if batch["image"].ndim != RANK:
            return operation(*arguments)
        image = batch["image"]
        n, t = image.shape[:2]
        frames = {name: jnp.repeat(value, t, axis=0) for name, value in batch.items() if name != "image"}
        frames["image"] = image.reshape(n * t, *image.shape[2:])
        own = [None if key is None else jnp.repeat(key, t, axis=0) for key in keys]
        made = operation(*own, frames)["image"]
        return {**batch, "image": made.reshape(n, t, *made.shape[1:])}

    return transform


def frames(length: int, stride: int = 1, clips: int = 1, short: str = "loop") -> Operation:
    """As clips.Frames, of clips in memory."""
    return _taking(host.Frames(length, stride, clips, short))


def random_frames(length: int, stride: int = 1, short: str = "loop") -> Operation:
    """As clips.RandomFrames, of clips in memory."""
    return _taking(host.RandomFrames(length, stride, short))


def _taking(chosen):
    def operation(keys, batch):
        image = batch["image"]
        if image.ndim != RANK:
            raise UserError(f"{chosen.entry!r} takes clips [n, t, h, w, c], not an array of shape {image.shape}.")
        count = image.shape[1]
        if not isinstance(chosen, host.RandomFrames):
            return {**batch, "image": image[:, chosen.plan(count, None, "config.data")]}
        chosen.check(count, "config.data")
        room = max(1, count - chosen.span + 1)
        start = jnp.minimum((uniform(keys) * room).astype(jnp.int32), room - 1)
        rows = (start[:, None] + chosen.stride * jnp.arange(chosen.length)) % count
        return {**batch, "image": jax.vmap(lambda clip, at: clip[at])(image, rows)}

    return OfClips(operation)


OPERATIONS = {"frames": frames, "random_frames": random_frames}
FIXED = ("frames",)
