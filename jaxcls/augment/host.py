"""Crops and resizes on the host, for pictures that come encoded.

All work on uint8 [h, w, c], antialiased through Pillow or, faster, through `simd`; one is faster still by OpenCV where
that is chosen by name. JPEG is decoded no larger than the first operation needs, and of it only the box that a random
crop takes. Of a thin picture that would grow beyond bounds.MAX_RESIZED no more is resized than a following crop keeps.
"""

import copy
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.augment import clips, opencv, simd
from jaxcls.augment.boxes import TRIES, Pair, check_crop, check_size, first_box, resized
from jaxcls.data import bounds
from jaxcls.data.windows import Window
from jaxcls.errors import UserError

if TYPE_CHECKING:
    from jaxcls.data.decode import Box, Part

ONE_SIZE = ("random_resized_crop", "center_crop")
FAST = "fast"
AUTO = "auto"
# In evaluation a picture is decoded at half or less only where twice the pixels asked for are left: Pillow's filter
# then does most of the averaging, and published weights see the pixels they know to within a level or two.
RESERVE = 2


class HostTransform:
    """Decodes a picture and applies the operations in order. Can be pickled, for worker processes.

    Args:
      operations: built from `HOST`.
      channels, window: as of `decode.decode`.
    """

    def __init__(self, operations: Sequence[Callable[..., np.ndarray]], channels: int, window: Window = ()):
        self.operations, self.channels, self.window = _joined(operations), channels, window

    @property
    def resample(self) -> str | None:
        """That of the random crops, "auto" resolved; None without."""
        return next((op.resample for op in self.operations if isinstance(op, RandomResizedCrop)), None)

    def __call__(self, image: bytes | np.ndarray, name: str, random: np.random.Generator | None) -> np.ndarray:
        """image: bytes or uint8 [h, w, c]; name: for messages; random: numpy Generator, or None in evaluation."""
        if isinstance(image, bytes):
            (picture,), operations = self._decode(image, name, (random,))
        else:
            if image.ndim != 3:
                self._refuse(image, name)
            picture, operations = image, self.operations
        for operation in operations:
            if isinstance(operation, Resize):
                operation.check(picture.shape[:2], name)
            picture = operation(picture, random)
        return picture

    def views(self, image: bytes | np.ndarray, name: str, randoms: Sequence[np.random.Generator]) -> np.ndarray:
        """uint8 [k, h, w, c]: one picture for each of k generators, all from one decoding.

        A JPEG is decoded at the least scale that serves all of them; where that is the one that the first alone would
        have, the first is what `__call__` gives.
        """
        if isinstance(image, bytes):
            pictures, operations = self._decode(image, name, randoms)
        else:
            if image.ndim != 3:
                self._refuse(image, name)
            pictures, operations = [image] * len(randoms), self.operations
        for operation in operations:
            if isinstance(operation, Resize):
                operation.check(pictures[0].shape[:2], name)
            pictures = [operation(picture, random) for picture, random in zip(pictures, randoms, strict=True)]
        return np.stack(pictures)

    def _refuse(self, image, name):
        """Raises UserError for an array that is no picture, unless nothing is done with it."""
        if self.operations:
            entry = getattr(self.operations[0], "entry", type(self.operations[0]).__name__)
            raise UserError(f"{name}: {entry!r} takes a picture [h, w, c], not an array of shape {image.shape}.")

    def _decode(self, encoded, name, randoms):
        """(pictures, operations that are left): where the first can say what it needs, that is all that is made."""
        from jaxcls.data import decode

        options = {"channels": self.channels, "window": self.window, "name": name}
        if not (self.operations and hasattr(self.operations[0], "plan") and decode.is_jpeg(encoded)):
            return [decode.decode(encoded, **options)] * len(randoms), self.operations
        first, *rest = self.operations
        plans = []

        def wanted(shape):
            if isinstance(first, Resize):
                first.check(shape, name)
            plans.extend(first.plan(shape, random) for random in randoms)
            height, width = map(max, zip(*(first.needs(shape, plan) for plan in plans), strict=True))
            return first.around(plans), (height, width)

        part = decode.decode_part(encoded, wanted, fast=first.resample == FAST, **options)
        return [first.cut(part.image, plan, part) for plan in plans], rest


class RandomResizedCrop:
    """A random box (boxes.crop_box), cut out and resized to size x size.

    As in torchvision the filter sees nothing outside of the box, which Pillow's `resize(box=...)` would.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where the box still has size x size pixels then: the means over
    blocks of pixels that libjpeg takes are a part of the filter. The box is drawn from the full size.

    Args:
      size: of the result.
      scale, ratio: as in boxes.crop_box.
      resample: nearest, bilinear or bicubic, as in Pillow; "bilinear-simd" (`simd`): bilinear to a level, three times
        as fast; "auto", the default: bilinear-simd where that is installed, else bilinear; or "fast": OpenCV, halved
        while twice as many pixels are there on both sides, then bilinear (not antialiased), and libjpeg's fast
        decoding.
    """

    entry = "random_resized_crop"  # its name in a list

    def __init__(self, size: int, scale: Pair = (0.08, 1.0), ratio: Pair = (3 / 4, 4 / 3), resample: str = AUTO):
        if resample == AUTO:
            resample = simd.NAME if simd.installed() else "bilinear"
        self.size, self.resample = check_size(size), resample
        self.scale, self.ratio = check_crop(scale, ratio)
        self.resize = opencv.resized if resample == FAST and opencv.loaded() else _resizer(resample, FAST, AUTO)

    def plan(self, shape: tuple[int, int], random: np.random.Generator | None) -> "Box":
        """The box for a picture of this (height, width): (top, left, height, width)."""
        if random is None:
            raise UserError(
                "config.data.eval_transform: 'random_resized_crop' is random and can't be used in evaluation."
            )
        return first_box(random.random((TRIES, 4)), *shape, self.scale, self.ratio)

    def needs(self, shape: tuple[int, int], box: "Box") -> tuple[int, int]:
        """The (height, width) of a picture of this shape at which the box has size x size pixels."""
        if self.resample == "nearest":
            return shape
        height, width = (math.ceil(n * self.size / part) for n, part in zip(shape, box[2:], strict=True))
        return height, width

    def around(self, boxes: "Sequence[Box]") -> "Box":
        """The smallest box that has all of these in it."""
        top, left = (min(box[i] for box in boxes) for i in (0, 1))
        bottom, right = (max(box[i] + box[i + 2] for box in boxes) for i in (0, 1))
        return top, left, bottom - top, right - left

    def cut(self, image: np.ndarray, box: "Box", part: "Part | None" = None) -> np.ndarray:
        """The box of the picture; `part` says what of it, at which scale, the image is."""
        _, y, x, shrink = part or (None, 0, 0, 1)
        top, left = box[0] / shrink - y, box[1] / shrink - x
        bottom, right = (box[0] + box[2]) / shrink - y, (box[1] + box[3]) / shrink - x
        return self.resize(image, (self.size, self.size), box=(top, left, bottom, right))

    def __call__(self, image: np.ndarray, random: np.random.Generator | None) -> np.ndarray:
        return self.cut(image, self.plan(image.shape[:2], random))


class Resize:
    """The short side to `size`, keeping the shape (as torchvision rounds it), or exactly to height x width.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where twice the pixels of the result are left.

    Args:
      height, width: of the result; without a width `height` is the short side.
      resample: nearest, bilinear (the default) or bicubic, as in Pillow, or "bilinear-simd" (RandomResizedCrop).
    """

    entry = "resize"
    crop: int | None = None  # size of the CenterCrop that follows

    def __init__(self, height: int, width: int | None = None, resample: str = "bilinear"):
        self.height, self.width = check_size(height), None if width is None else check_size(width)
        self.resample, self.resize = resample, _resizer(resample)

    def check(self, shape: tuple[int, int], name: str) -> None:
        """Raises UserError where a picture of this (height, width) gets too many pixels and no crop follows."""
        target = self.plan(shape, None)
        if self.width is None and self.crop is None and target != shape:
            bounds.check_resized(*shape, target, name)

    def plan(self, shape: tuple[int, int], _: Any) -> tuple[int, int]:
        """(height, width) of the result."""
        return resized(shape, self.height, self.width)

    def needs(self, shape: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
        """The (height, width) of a picture of this shape that is enough."""
        return shape if self.resample == "nearest" else (RESERVE * target[0], RESERVE * target[1])

    def around(self, _: Any) -> None:
        """All of a picture is needed."""

    def cut(self, image: np.ndarray, target: tuple[int, int], _: Any = None) -> np.ndarray:
        """The picture in its new size, or, where that is too large, what a central crop keeps of it."""
        if target == image.shape[:2]:
            return image
        if self.crop is None or target[0] * target[1] <= bounds.MAX_RESIZED:
            return self.resize(image, target)
        top, left = (max(0, round((n - self.crop) / 2)) for n in target)
        kept = (top, left, min(target[0], self.crop), min(target[1], self.crop))
        return self.resize(image, target, kept=kept)

    def __call__(self, image: np.ndarray, _: Any) -> np.ndarray:
        return self.cut(image, self.plan(image.shape[:2], None))


class Shrink(Resize):
    """The short side to `size` where it is longer, keeping the shape."""

    def plan(self, shape: tuple[int, int], _: Any) -> tuple[int, int]:
        return super().plan(shape, _) if min(shape) > self.height else shape


def smaller(size: int, channels: int, window: Window = ()) -> HostTransform:
    """The HostTransform that makes pictures for a packed file (data/packed.py)."""
    return HostTransform([Shrink(size)], channels, window)


class CenterCrop:
    """The central size x size; a picture that is smaller is padded with zeros, evenly."""

    entry = "center_crop"

    def __init__(self, size: int):
        self.size = check_size(size)

    def __call__(self, image: np.ndarray, _: Any) -> np.ndarray:
        short = [max(0, self.size - n) for n in image.shape[:2]]
        if any(short):
            image = np.pad(image, [(s // 2, s - s // 2) for s in short] + [(0, 0)])
        top, left = (int(round((n - self.size) / 2)) for n in image.shape[:2])
        return image[top : top + self.size, left : left + self.size]


HOST = {"random_resized_crop": RandomResizedCrop, "resize": Resize, "center_crop": CenterCrop, **clips.HOST}


def _joined(operations):
    """The operations, where each Resize knows the CenterCrop that follows it."""
    operations = list(operations)
    for i, (one, following) in enumerate(itertools.pairwise(operations)):
        if isinstance(one, Resize) and isinstance(following, CenterCrop):
            operations[i] = copy.copy(one)
            operations[i].crop = following.size
    return operations


def _resizer(name, *others):
    """What resizes under this name; raises ValueError where there is none."""
    from jaxcls.data import resample

    if name == simd.NAME:
        simd.loaded()
        return simd.resized
    return functools.partial(resample.resized, filter=resample.filter_named(name, simd.NAME, *others))
