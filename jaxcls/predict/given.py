"""Whatever a caller has as pictures (paths, bytes, arrays, Pillow's, lists of these), read and prepared."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from jaxcls.data import deep, formats
from jaxcls.data.windows import Window
from jaxcls.errors import UserError, of_picture
from jaxcls.predict import reading

CHUNK = 64  # pictures that are held prepared at a time
THREADS = 4
KINDS = "a path, the bytes of a file, an array of uint8, a picture of Pillow, or a list of these"
ORIENTATION = 274  # EXIF
Prepare = Callable[[Any, str], np.ndarray]


def is_one(given: Any, axes: int = 3) -> bool:
    """Whether it is one picture (or clip, of 4 `axes`), not several. Raises UserError for what is neither."""
    if isinstance(given, str | os.PathLike | bytes | bytearray | memoryview) or _is_pillow(given):
        return True
    if isinstance(given, list | tuple):
        return False
    if hasattr(given, "__array__"):
        return np.ndim(given) <= axes
    raise UserError(f"{type(given).__name__} is no picture; give {KINDS}.")


def chunks(
    given: Sequence[Any], prepare: Prepare, channels: int, window: Window = (), *, clips: bool = False
) -> Iterator[np.ndarray]:
    """Prepared pictures of several, uint8 [n, H, W, C], some at a time.

    Args:
      given: pictures, each as `is_one` knows it.
      prepare: (bytes or pixels, name) -> prepared (`BasePredictor.prepare`); from several threads.
      channels, window: of pictures of Pillow, as of `data.decode`.
      clips: whether clips are wanted: arrays [t, h, w, c] or [t, h, w].

    Raises:
      UserError: for what is no picture or a damaged one: the first, and how many there are. All are looked at.
    """
    problems: list[str] = []
    read = lambda item: _read(item[1], item[0] if len(given) > 1 else None, prepare, channels, window, clips)  # noqa: E731
    batch: list[np.ndarray] = []
    for picture in reading.ahead(read, enumerate(given), THREADS, 4 * THREADS):
        if isinstance(picture, str):
            problems.append(picture)
            batch = []
        elif not problems:
            batch.append(picture)
        if len(batch) == CHUNK:
            yield np.stack(batch)
            batch = []
    if problems:
        more = f" (and {len(problems) - 1:,} more of {len(given):,} pictures)" if problems[1:] else ""
        raise UserError(f"{problems[0]}{more}")
    if batch:
        yield np.stack(batch)


def _read(item, number, prepare, channels, window, clips):
    """A prepared picture, or what is wrong with it."""
    name = "picture" if number is None else f"picture {number}"
    if isinstance(item, str | os.PathLike):
        path = os.path.expanduser(os.fspath(item))
        found = reading.read(prepare, path, None)
        return f"{path}: {found.problem}" if found.image is None else found.image
    try:
        return prepare(_content(item, channels, window, name, clips), name)
    except Exception as error:
        return str(of_picture(error, name))


def _content(item, channels, window, name, clips):
    """Bytes, or pixels [h, w, c] or [t, h, w, c]."""
    if isinstance(item, bytes | bytearray | memoryview):
        return bytes(item)
    if _is_pillow(item):
        return _of_pillow(item, channels, window, name)
    if not hasattr(item, "__array__"):
        raise UserError(f"{name}: {type(item).__name__} is no picture; give {KINDS}.")
    pixels = np.asarray(item)
    if clips and pixels.ndim in (3, 4) and 0 not in pixels.shape:
        return pixels
    if pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise UserError(
            f"{name}: an array of the shape {pixels.shape} is no picture; give uint8 [height, width, channels]."
        )
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _is_pillow(item):
    return hasattr(item, "getbands") and hasattr(item, "convert")


def _of_pillow(picture, channels, window, name):
    """The pixels that `data.decode` gives of the picture's file."""
    if window and picture.mode[:1] in ("I", "F"):
        return np.asarray(picture)[..., None]
    turned = 1 if picture.format == "TIFF" else picture.getexif().get(ORIENTATION, 1)
    opened = formats.Opened("", picture, b"", turned if turned in range(1, 9) else 1)
    return formats.pixels(opened, channels) if channels in deep.PILLOWS else deep.bands(opened, channels, name)
