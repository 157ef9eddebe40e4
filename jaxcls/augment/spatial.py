"""Operations that move pixels, drawn at random; those that stand next to each other in a list resample once."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcls.augment import geometry
from jaxcls.augment.base import (
    Fill,
    Operation,
    Range,
    check_probability,
    check_range,
    chosen,
    select,
    split,
    to_uint8,
    uniform,
)
from jaxcls.augment.boxes import Pair
from jaxcls.errors import UserError
from jaxcls.types import Batch

INTERPOLATIONS = ("nearest", "bilinear")


@dataclasses.dataclass(frozen=True)
class Spatial:
    """An operation that moves pixels.

    Attributes:
      matrices: (keys [n], height, width) -> [n, 3, 3], output to input coordinates, as `geometry.resample` takes them.
      interpolation, fill: of `geometry.resample`.
    """

    matrices: Callable
    interpolation: str
    fill: int | tuple

    def __call__(self, keys: Array, batch: Batch) -> Batch:
        """The batch with moved pixels."""
        return Merged((self,))(keys, batch)


@dataclasses.dataclass(frozen=True)
class Mirror:
    """An operation that mirrors along an axis (1: up and down, 2: left and right) with probability p.

    Alone it reverses the axis; next to a `Spatial` it joins its map (`merge`).
    """

    axis: int
    p: float

    def matrices(self, keys: Array, height: int, width: int) -> Array:
        """[n, 3, 3], output to input coordinates."""
        mirrored = geometry.matrix((-1, 0, width), (0, 1, 0), (0, 0, 1))
        if self.axis == 1:
            mirrored = geometry.matrix((1, 0, 0), (0, -1, height), (0, 0, 1))
        return select(chosen(keys, self.p), mirrored, jnp.eye(3))

    def __call__(self, keys: Array, batch: Batch) -> Batch:
        """The batch with mirrored pictures."""
        image = to_uint8(batch["image"])
        return {**batch, "image": select(chosen(keys, self.p), jnp.flip(image, self.axis), image)}


@dataclasses.dataclass(frozen=True)
class Merged:
    """Several `Spatial` and `Mirror` as one map and one resampling; called with the keys of each, then the batch."""

    operations: tuple

    def __call__(self, *arguments: Any) -> Batch:
        """The batch with moved pixels."""
        *keys, batch = arguments
        image = to_uint8(batch["image"])
        height, width = image.shape[1:3]
        matrices = [op.matrices(own, height, width) for op, own in zip(self.operations, keys, strict=True)]
        total = functools.reduce(geometry.product, matrices)
        how = next(op for op in self.operations if isinstance(op, Spatial))
        return {**batch, "image": geometry.resample(image, total, how.interpolation, how.fill)}


def merge(operations: Sequence[Operation]) -> list[tuple[tuple[int, ...], Operation]]:
    """A list of operations with its neighbouring spatial ones as one, where they agree in interpolation and fill.

    Compared with one after the other: pixels are interpolated once, so the picture is less blurred; and what one map
    moves out of the frame and the next one back in is there, where it would have been filled. Where nothing leaves the
    frame and nothing is interpolated (mirroring, quarter turns of squares) the results are equal.

    Returns:
      list of (positions in `operations`, operation), the operation to be called with the keys of each position and the
      batch. Mirrors without a `Spatial` next to them stay as they are: no pixel has to be looked up.
    """
    steps: list[tuple[tuple[int, ...], Operation]] = []
    run: list[int] = []

    def close():
        if any(isinstance(operations[i], Spatial) for i in run) and len(run) > 1:
            steps.append((tuple(run), Merged(tuple(operations[i] for i in run))))
        else:
            steps.extend(((i,), operations[i]) for i in run)
        run.clear()

    for i, operation in enumerate(operations):
        if not _agree([*(operations[j] for j in run), operation]):
            close()
        run.append(i)
    close()
    return steps


def _agree(operations):
    """Whether operations can be one resampling."""
    if not all(isinstance(operation, Spatial | Mirror) for operation in operations):
        return len(operations) == 1
    return len({(op.interpolation, op.fill) for op in operations if isinstance(op, Spatial)}) <= 1


def rotate(degrees: Range, interpolation: str = "bilinear", fill: Fill = 0) -> Spatial:
    """Rotation about the centre by an angle drawn evenly; torchvision's RandomRotation without `expand`.

    Args:
      degrees: counter-clockwise; a pair is a range, a number d stands for (-d, d).
      interpolation: "nearest" or "bilinear".
      fill: what comes in from outside, 0 to 255: one level or one a channel.
    """
    low, high = _symmetric("degrees", degrees)

    def matrices(keys, height, width):
        return geometry.rotation(uniform(keys, (), low, high), height, width)

    return _spatial(matrices, interpolation, fill)


def affine(
    degrees: Range = 0,
    translate: Pair = (0, 0),
    scale: Pair = (1, 1),
    shear: float | Sequence[float] = 0,
    interpolation: str = "bilinear",
    fill: Fill = 0,
) -> Spatial:
    """A random affine map about the centre; torchvision's RandomAffine.

    Args:
      degrees: of the rotation, clockwise; a pair is a range, a number d stands for (-d, d).
      translate: the largest shares of width and height by which it is moved either way; whole pixels are drawn.
      scale: range of the factor.
      shear: degrees along x as a range or a number d for (-d, d); four numbers are the ranges along x and along y.
      interpolation, fill: as in `rotate`.

    Raises (the operation): UserError where it would reach 16,384 pixels outside of a picture.
    """
    along_x: Range = shear
    along_y: Range = (0, 0)
    if isinstance(shear, (tuple, list)) and len(shear) == 4:
        along_x, along_y = shear[:2], shear[2:]
    turn, shears = _symmetric("degrees", degrees), [_symmetric("shear", along_x), _symmetric("shear", along_y)]
    if not isinstance(translate, (tuple, list)) or len(translate) != 2 or not all(map(_is_share, translate)):
        raise ValueError(f"translate must be two shares from 0 to 1, of width and height, not {translate!r}")
    scale = check_range("scale", scale, low=0)
    if scale[0] == 0:
        raise ValueError(f"scale must be above 0, not {scale!r}")

    def matrices(keys, height, width):
        _check_reach(height, width, translate, scale, shears)
        room = np.array([translate[0] * width, translate[1] * height])
        low = np.array([turn[0], *-room, scale[0], *[pair[0] for pair in shears]], np.float32)
        high = np.array([turn[1], *room, scale[1], *[pair[1] for pair in shears]], np.float32)
        drawn = uniform(keys, (6,), low, high)
        shift = jnp.round(drawn[:, 1:3])
        return geometry.affine_matrix(drawn[:, 0], shift, drawn[:, 3], drawn[:, 4:], height, width)

    return _spatial(matrices, interpolation, fill)


def perspective(distortion: float = 0.5, p: float = 0.5, interpolation: str = "bilinear", fill: Fill = 0) -> Spatial:
    """A random view in perspective, with probability p; torchvision's RandomPerspective.

    Each corner moves inwards, by whole pixels drawn from 0 to `distortion` times half the width and half the height.

    Args:
      distortion: 0 to 1.
      p: probability; the other pictures stay exactly as they are.
      interpolation, fill: as in `rotate`.
    """
    p = check_probability(p)
    if not _is_share(distortion):
        raise ValueError(f"distortion must be from 0 to 1, not {distortion!r}")

    def matrices(keys, height, width):
        corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
        start = corners * (width - 1, height - 1)
        most = np.array([int(distortion * (width // 2)), int(distortion * (height // 2))], np.float32)
        whether, where = split(keys, 2)
        inwards = jnp.floor(uniform(where, (4, 2)) * (most + 1)[None, None])
        end = start[None] + inwards * (1 - 2 * corners)[None]
        matrix = geometry.perspective_matrix(jnp.broadcast_to(start, end.shape), end)
        return select(chosen(whether, p), matrix, jnp.eye(3)[None])

    return _spatial(matrices, interpolation, fill)


def check_warp(interpolation: str, fill: Fill) -> None:
    """Raises ValueError unless both can be given to `geometry.resample`."""
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation can be {' or '.join(map(repr, INTERPOLATIONS))}, not {interpolation!r}")
    levels = fill if isinstance(fill, (tuple, list)) else (fill,)
    if not levels or not all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= 255 for v in levels):
        raise ValueError(f"fill must be a whole number from 0 to 255, or one a channel, not {fill!r}")


def _spatial(matrices, interpolation, fill):
    """The operation, its settings checked. Raises ValueError."""
    check_warp(interpolation, fill)
    return Spatial(matrices, interpolation, tuple(fill) if isinstance(fill, list) else fill)


def _check_reach(height, width, translate, scale, shears):
    """Raises UserError where an affine map reaches coordinates that `Fixed` does not hold."""
    along_x, along_y = (math.tan(math.radians(max(map(abs, pair)))) for pair in shears)
    most = max(1 + along_y, 1 + along_x * (1 + along_y)) / scale[0]
    reach = max(height, width) + most * ((0.5 + translate[0]) * width + (0.5 + translate[1]) * height)
    if not 0 <= reach < 2**14 or max(abs(angle) for pair in shears for angle in pair) >= 90:
        raise UserError(
            f"affine(...) reaches too far outside of pictures of {width} x {height}: take less shear or a larger scale"
        )


def _is_share(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def _symmetric(what, value):
    """A range as (low, high); a number d stands for (-d, d)."""
    if isinstance(value, (int, float)) and value < 0:
        raise ValueError(f"{what} must be at least 0, or a pair (low, high), not {value!r}")
    low, high = check_range(what, value)
    return (low, high) if isinstance(value, (tuple, list)) else (-high, high)


OPERATIONS = {"rotate": rotate, "affine": affine, "perspective": perspective}
