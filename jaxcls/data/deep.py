"""Pictures read as the numbers in their files: of more than 8 bits through a window, of any number of bands."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxcls.data import bounds, dicom, formats, kinds, npy, samples, tiff_bands, windows
from jaxcls.data.windows import Stored, Window
from jaxcls.errors import UserError

PILLOWS = (1, 3)  # channels that Pillow makes of nearly any picture
ALWAYS = ("DICOM", "NumPy")  # kinds that Pillow doesn't know
MOST = 1024  # channels


class Facts(NamedTuple):
    """What is to be told of pictures, by the header of one.

    Attributes:
      deep: whether it has more than 8 bits, which a window is for.
      windowless: whether it is a grey DICOM without a window of its own.
      frames: of a DICOM; 1 of others.
    """

    deep: bool = False
    windowless: bool = False
    frames: int = 1


def reads(encoded: bytes, channels: int, window: Window, name: str) -> str | None:
    """The kind of a picture that is read here and not by `formats`; None for others."""
    kind = kinds.of(encoded[:512])
    if kind in ALWAYS:
        return kind if kind in kinds.readable() else None
    if kind == "TIFF" and _tiff(encoded, channels, window, name):
        return kind
    if window and kind == "PNG" and encoded[24:25] == b"\x10" and channels <= 4:
        return kind
    return kind if window and kind == "PPM" and _ppm_most(encoded, name) > 255 else None


def _tiff(encoded, channels, window, name):
    """Whether a TIFF has bands or bits that Pillow doesn't give as they are wanted."""
    try:
        found = tiff_bands.layout(encoded)
    except UserError:
        return False
    if channels not in PILLOWS or (window and found.bits > 8):
        return True
    bands = found.shape[2]
    try:
        formats.open_(encoded, name)
    except UserError:
        return bands not in PILLOWS  # else it is damaged
    return False


def _ppm_most(encoded, name):
    """The number that is white in a binary PPM or PGM; 0 of others."""
    codec, _, _, how = formats.open_(encoded, name).picture.tile[0]
    if codec == "ppm":
        return how[1]
    return 65535 if codec == "raw" and "I;16B" in how else 0


def size(encoded: bytes, kind: str, name: str) -> tuple[int, int]:
    """(height, width), upright. Raises UserError."""
    if kind == "TIFF":
        return tiff_bands.layout(encoded, name).upright
    height, width, _ = npy.header(encoded, name)[0] if kind == "NumPy" else dicom.shape(dicom.opened(encoded, name))
    return height, width


def pixels(encoded: bytes, kind: str, channels: int, window: Window, max_pixels: int, name: str) -> np.ndarray:
    """uint8 [h, w, channels] of a picture.

    Raises:
      UserError: of one that is damaged, too large, has other channels, or no range of its own where there is no window.
    """
    try:
        stored = _READERS[kind](encoded, max_pixels, name)
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"{name or 'picture'}: there is not enough memory to decode it; resize it") from error
    except Exception as error:  # Pillow's readers raise nearly any kind for bytes that make no sense
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{name or 'picture'}: damaged {kind} file ({reason}); replace or remove it") from error
    return fitted(shown(stored, channels, window, name), channels, name)


def shown(stored: Stored, channels: int, window: Window, name: str) -> np.ndarray:
    """uint8 [h, w, bands] of numbers; of 1 and 3 channels opacity is laid on white and left out. Raises UserError."""
    picture = channels in PILLOWS
    shade = stored.values[..., :-1] if stored.alpha and picture else stored.values
    levels = _levels(shade, stored, window if stored.takes else (), picture, name)
    if not (stored.alpha and picture):
        return levels
    opaque = windows.levels(stored.values[..., -1:], stored.range or (0.0, 1.0)).astype(np.float32) / 255
    return np.rint(levels * opaque + 255 * (1 - opaque)).astype(np.uint8)


def _levels(values, stored, window, picture, name):
    limits = window or stored.range
    if limits is None:
        raise UserError(
            f"{name or 'picture'}: nothing says which of its values ({values.dtype}) are black and white; set "
            "config.data.window=(low, high)"
        )
    curve = windows.LINEAR if window else stored.curve
    inverted = stored.inverted and picture
    if values.dtype == np.uint8 and tuple(limits) == (0, 255) and (stored.slope, stored.intercept) == (1, 0):
        return 255 - values if inverted else values
    return windows.levels(
        values, limits, slope=stored.slope, intercept=stored.intercept, inverted=inverted, curve=curve
    )


def fitted(image: np.ndarray, channels: int, name: str) -> np.ndarray:
    """A picture uint8 [h, w, bands] in so many channels: 1 and 3 are made of each other, others are as they are.

    Raises:
      UserError: where they can't be.
    """
    bands = image.shape[-1]
    if bands == channels:
        return np.ascontiguousarray(image)
    if (bands, channels) == (1, 3):
        return np.repeat(image, 3, axis=-1)
    if (bands, channels) == (3, 1):
        return samples.grey(np.ascontiguousarray(image))
    raise unfit(bands, channels, name)


def unfit(bands: int, channels: int, name: str) -> UserError:
    """The error of a picture of other channels than are wanted."""
    has = f"{bands} channel" + ("" if bands == 1 else "s")
    return UserError(
        f"{name or 'picture'}: it has {has}, not the {channels} that are wanted; convert it, or set "
        f"config.data.channels={bands} where all have as many"
    )


def bands(opened: formats.Opened, channels: int, name: str) -> np.ndarray:
    """uint8 [h, w, channels] of a picture of Pillow's that has just so many, upright: grey or RGB with opacity.

    Raises:
      UserError: where it has others.
    """
    picture = opened.picture
    form = {2: "LA", 4: "RGBA"}.get(channels)
    own = len(picture.getbands()) + (picture.has_transparency_data and picture.mode in ("L", "RGB", "I;16", "I"))
    if picture.mode in ("P", "PA"):
        own = 4 if picture.has_transparency_data else 3
    if form is None or own != channels or picture.mode in ("CMYK", "YCCK"):
        raise unfit(own, channels, name)
    picture.load()
    image = np.asarray(picture.convert(form))
    return np.ascontiguousarray(formats.UPRIGHT[opened.orientation](image) if opened.orientation > 1 else image)


def facts(head: bytes) -> Facts:
    """What is to be told of a picture with these first bytes. Raises UserError."""
    kind = kinds.of(head[:512])
    if kind == "DICOM":
        found = dicom.facts(head)
        return Facts(found.grey, found.windowless, found.frames)
    if kind == "NumPy":
        return Facts(npy.header(head, "")[1] != np.uint8)
    if kind == "TIFF":
        return Facts(tiff_bands.layout(head).bits > 8)
    if kind == "PPM":
        return Facts(_ppm_most(head, "") > 255)
    return Facts(kind == "PNG" and head[24:25] == b"\x10")


def channels_of(head: bytes) -> int | None:
    """How many bands the first bytes of a TIFF or NumPy file say that it has; None for others. Raises UserError."""
    kind = kinds.of(head[:512])
    if kind == "TIFF":
        return tiff_bands.layout(head).shape[2]
    return npy.header(head, "")[0][2] if kind == "NumPy" else None


def _png(encoded, max_pixels, name):
    """The numbers of a PNG of 16 bits: Pillow's high bytes, and, in the other order, its low ones."""
    values = 0
    for order in ("B", "L"):
        opened = formats.open_(encoded, name)
        picture = opened.picture
        codec, extents, offset, mode = picture.tile[0]
        if mode == "LA;16B":
            raise UserError(f"{name or 'picture'}: a PNG of 16 bits with grey and opacity; save it as grey")
        formats.check(opened, len(encoded), max_pixels, name)
        bounds.check_memory(picture.height, picture.width, 20, len(encoded), name)
        if picture.mode.startswith("I"):
            picture.load()
            values = np.asarray(picture)[..., None].astype(np.uint16)
            break
        picture.tile = [(codec, extents, offset, mode[:-1] + order)]
        picture.load()
        values = values * 256 + np.asarray(picture).astype(np.uint16)
    if opened.orientation > 1:
        values = formats.UPRIGHT[opened.orientation](values)
    return Stored(values, (0.0, 65535.0), takes=True, alpha=values.shape[-1] == 4)


def _ppm(encoded, max_pixels, name):
    opened = formats.open_(encoded, name)
    formats.check(opened, len(encoded), max_pixels, name)
    (_, _, offset, _), (width, height) = opened.picture.tile[0], opened.picture.size
    each = 3 if opened.picture.mode == "RGB" else 1
    if offset + 2 * width * height * each > len(encoded):
        raise ValueError("its data ends early")
    values = np.frombuffer(encoded, ">u2", width * height * each, offset).reshape(height, width, each)
    return Stored(values, (0.0, float(_ppm_most(encoded, name))), takes=True)


_READERS: dict[str, Callable[[bytes, int, str], Stored]] = {
    "DICOM": dicom.read,
    "NumPy": npy.read,
    "TIFF": tiff_bands.read,
    "PNG": _png,
    "PPM": _ppm,
}
