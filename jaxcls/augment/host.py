"""Crops and resizes on the host, for pictures that come encoded.

All work on uint8 [h, w, c] through Pillow (antialiased).
"""

import numpy as np

from jaxcls.augment.boxes import TRIES, check_size, crop_box, resized
from jaxcls.errors import UserError

ONE_SIZE = ("random_resized_crop", "center_crop")


class HostTransform:
    """Decodes a picture and applies the operations in order. Can be pickled, for worker processes.

    Args:
      operations: built from `HOST`.
      channels: 1 or 3.
    """

    def __init__(self, operations, channels):
        self.operations, self.channels = operations, channels

    def __call__(self, image, name, random):
        """image: bytes or uint8 [h, w, c]; name: for messages; random: numpy Generator, or None in evaluation."""
        if isinstance(image, bytes):
            from jaxcls.data import decode

            image = decode.decode(image, channels=self.channels, name=name)
        for operation in self.operations:
            image = operation(image, random)
        return image


class RandomResizedCrop:
    """A random box (boxes.crop_box), cut out and resized to size x size.

    As in torchvision the filter sees nothing outside of the box, which Pillow's `resize(box=...)` would.
    """

    def __init__(self, size, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), resample="bilinear"):
        self.size, self.resample = check_size(size), _filter(resample)
        self.scale, self.ratio = tuple(scale), tuple(ratio)

    def __call__(self, image, random):
        if random is None:
            raise UserError(
                "config.data.eval_transform: 'random_resized_crop' is random and can't be used in evaluation."
            )
        height, width = image.shape[:2]
        uniform = random.random((TRIES, 4))
        top, left, h, w = (int(v) for v in crop_box(uniform, height, width, scale=self.scale, ratio=self.ratio))
        return _resize(image[top : top + h, left : left + w], (self.size, self.size), self.resample)


class Resize:
    """The short side to `size`, keeping the shape (as torchvision rounds it), or exactly to height x width."""

    def __init__(self, height, width=None, resample="bilinear"):
        self.height, self.width = check_size(height), None if width is None else check_size(width)
        self.resample = _filter(resample)

    def __call__(self, image, _):
        target = resized(image.shape[:2], self.height, self.width)
        return image if target == image.shape[:2] else _resize(image, target, self.resample)


class CenterCrop:
    """The central size x size; a picture that is smaller is padded with zeros, evenly."""

    def __init__(self, size):
        self.size = check_size(size)

    def __call__(self, image, _):
        short = [max(0, self.size - n) for n in image.shape[:2]]
        if any(short):
            image = np.pad(image, [(s // 2, s - s // 2) for s in short] + [(0, 0)])
        top, left = (int(round((n - self.size) / 2)) for n in image.shape[:2])
        return image[top : top + self.size, left : left + self.size]


HOST = {"random_resized_crop": RandomResizedCrop, "resize": Resize, "center_crop": CenterCrop}


def _resize(image, size, resample):
    from PIL import Image

    grey = image.shape[2] == 1
    picture = Image.fromarray(image[..., 0] if grey else image)
    out = np.asarray(picture.resize((size[1], size[0]), resample))
    return out[..., None] if grey else out


def _filter(name):
    from PIL import Image

    filters = {
        "nearest": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
    }
    if name not in filters:
        raise ValueError(f"resample can be {', '.join(filters)}, not {name!r}")
    return filters[name]
