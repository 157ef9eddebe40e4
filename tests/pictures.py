"""Pictures for tests, and their bytes in files of any kind."""

import io
import struct

import numpy as np
from PIL import Image


def smooth(height=48, width=64, channels=3) -> np.ndarray:
    """A picture without symmetry that JPEG keeps well."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    return np.stack([200 * x, 120 * y + 60, 255 * x * y][:channels], -1).astype(np.uint8)


def noise(height=160, width=120) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


def encode(image, kind="JPEG", **options) -> bytes:
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def jpeg_of_size(width: int, height: int) -> bytes:
    encoded = bytearray(encode(smooth()))
    frame = encoded.index(b"\xff\xc0")  # SOF0: marker, length, precision, height, width
    encoded[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(encoded)
