"""What evaluation makes of a picture before the model sees it, as data: for evaluation, prediction and export alike.

What the host does of it needs no JAX.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls import augment
from jaxcls.errors import UserError, of_picture

if TYPE_CHECKING:
    from jax import Array
    from jaxtyping import UInt8

    from jaxcls.augment.clips import ClipTransform
    from jaxcls.augment.host import HostTransform
    from jaxcls.data.windows import Window

WHAT = "config.data.eval_transform"


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The way of a picture in evaluation: decoded, made of one size on the host, then on the device, normalised.

    Attributes:
      transforms: the list config.data.eval_transform.
      mean, std: of the normalisation, one value or one a channel, on the scale of [0, 1].
      channels: of pictures of files.
      picture: (height, width, channels) of every picture of a set that is kept in memory, (frames, height, width,
        channels) of every clip; None for files.
      pack: pixels of the short side at which files were packed before; 0: not at all.
      window: (low, high), what becomes black and white of pictures of more than 8 bits (data.windows); () for none.
    """

    transforms: tuple[str, ...] = ()
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: int = 3
    picture: tuple[int, ...] | None = None
    pack: int = 0
    window: Window = ()

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Preprocessing:
        """The inverse of `to_json`. Raises KeyError or TypeError for what is none."""
        fields: dict[str, Any] = {key: tuple(x) if isinstance(x, list) else x for key, x in stored.items()}
        return cls(**fields)

    def to_json(self) -> dict[str, Any]:
        """As plain values; without a window where there is none, as it was before there were any."""
        plain = dataclasses.asdict(self)
        if not self.window:
            del plain["window"]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}

    @functools.cached_property
    def clips(self) -> bool:
        """Whether it is of clips [t, h, w, c]: in memory by their shape, of files if the list begins with `frames`."""
        return bool(augment.clip_length(self.transforms, WHAT)[0]) if self.picture is None else len(self.picture) == 4

    def one_clip(self, frames: Any) -> Any:
        """Of clips [..., t, h, w, c] the first, where several of each video stand one behind the other; else all."""
        length, several = augment.clip_length(self.transforms, WHAT)
        return frames[..., :length, :, :, :] if several > 1 and frames.shape[-4] == length * several else frames

    def blank(self) -> np.ndarray:
        """A black picture, or clip, that `prepare` takes: uint8."""
        if self.picture is not None:
            return np.zeros(self.picture, np.uint8)
        length, several = augment.clip_length(self.transforms, WHAT)
        return np.zeros((*([max(2, length * several)] if length else []), 64, 64, self.channels), np.uint8)

    def calls(self) -> tuple[list, list]:
        """The list's calls as (on the host, on the device). Raises UserError for a list that can't be."""
        return augment.split_list(self.transforms, encoded=self.picture is None, what=WHAT)

    def check(self) -> None:
        """Raises UserError for a list that can't be."""
        self._device(self.calls()[1])
        _ = self.host  # it is made

    @functools.cached_property
    def host(self) -> HostTransform | ClipTransform:
        """(encoded bytes or uint8 array, name, None) -> uint8 [h, w, c]: what the host does with an item."""
        return augment.host_transform(self.calls()[0], channels=self.channels, window=self.window, what=WHAT)

    def device(self, images: Array) -> Array:
        """What reaches the device, uint8 [n, h, w, c], as the model sees it: float32, normalised. For tracing."""
        return self._device(self.calls()[1])(None, {"image": images})["image"]

    def _device(self, calls):
        from jaxcls.augment.base import Context

        context = Context(mean=self.mean, std=self.std)
        return augment.device_transform(calls, random=False, context=context, what=WHAT)

    def prepare(self, image: bytes | UInt8[np.ndarray, "h w c"], name: str = "") -> UInt8[np.ndarray, "H W C"]:
        """Any picture as it goes to the device; of a set that is kept in memory it is squeezed to the set's size.

        Args:
          image: pixels, of another dtype than uint8 where there is a window; or the bytes of a file (what `data.decode`
            reads). Of clips [t, h, w, c], or whatever `data.clip_files.opened` takes.
          name: what messages call it.

        Raises:
          UserError: for what is no picture, a damaged one, or one of other channels.
        """
        try:
            return self._prepare(image, name)
        except Exception as error:
            raise of_picture(error, name) from error

    def _prepare(self, image, name):
        if self.clips:
            return self.host(image, name, None) if self.picture is None else self._fitted(image, name)
        if isinstance(image, tuple) or getattr(image, "ndim", 0) == 4:
            raise UserError(f"{name or 'picture'}: a clip, and the model takes single pictures; give it one frame")
        if isinstance(image, np.ndarray) and (image.dtype != np.uint8 or image.ndim == 3):
            image = self._of_pixels(image, name)
        if self.picture is None:
            if self.pack:
                image = self._packing(image, name, None)
            return self.host(image, name, None)
        from jaxcls.data import decode

        if len(self.picture) != 3:
            raise UserError(f"the model takes arrays of shape {self.picture}, which no picture is")
        if isinstance(image, bytes):
            image = decode.decode(image, channels=self.picture[2], window=self.window, name=name)
        return _squeezed(image, self.picture[:2])

    def _fitted(self, image, name):
        """A clip of anything, as those in memory are: so many frames, evenly from first to last, of that size."""
        from jaxcls.data import clip_files, decode

        length, *size, channels = self.picture
        clip = clip_files.opened(image, channels, name)
        rows = np.rint(np.linspace(0, clip.count - 1, length)).astype(int)
        frames = clip.read(np.unique(rows))
        pixels = {
            row: decode.decode(x, channels=channels, name=name) if isinstance(x, bytes) else x
            for row, x in frames.items()
        }
        return np.stack([_squeezed(pixels[row], tuple(size)) for row in rows.tolist()])

    def _of_pixels(self, image, name):
        """Pixels as uint8 [h, w, c] with the channels that the model takes. Raises UserError."""
        from jaxcls.data import deep, windows

        if image.dtype != np.uint8:
            if not self.window or image.dtype.kind not in "uif":
                raise UserError(f"{name or 'picture'}: pixels are uint8, not {image.dtype}, unless a run has a window")
            image = windows.levels(image, self.window)
        wanted = self.channels if self.picture is None else self.picture[-1]
        if image.ndim == 3 and image.shape[2] != wanted:
            raise deep.unfit(image.shape[2], wanted, name)
        return image

    @functools.cached_property
    def _packing(self):
        return augment.smaller(self.pack, channels=self.channels, window=self.window)

    def levels(self, images: np.ndarray) -> UInt8[np.ndarray, "n h w c"]:
        """The uint8 pictures that normalised ones are made of."""
        mean, std = (np.asarray(value, np.float32) for value in (self.mean, self.std))
        return np.rint((255 * (np.asarray(images) * std + mean)).clip(0, 255)).astype(np.uint8)


def _squeezed(image, size):
    """The picture at exactly (height, width), through Pillow's antialiased bilinear filter; as it is where it fits."""
    if image.shape[:2] == tuple(size):
        return image
    from jaxcls.data import resample

    return resample.resized(image, tuple(size), resample.FILTERS["bilinear"])
