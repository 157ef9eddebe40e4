"""JPEG and back: what libjpeg's default settings leave of a picture, without the lossless part that writes bits.

ITU-T T.81; colours and their halved resolution as in JFIF and libjpeg. Rounds where libjpeg does, and differs from it
by its integer cosine transforms alone.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcls.corrupt.noise import At, Rows

# T.81, annex K: steps of the coefficients at quality 50.
LUMINANCE = np.array(
    [[16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55], [14, 13, 16, 24, 40, 57, 69, 56],
     [14, 17, 22, 29, 51, 87, 80, 62], [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
     [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99]]
)  # fmt: skip
CHROMINANCE = np.full((8, 8), 99)
CHROMINANCE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
FREQUENCY, PLACE = np.mgrid[:8, :8]
COSINES = np.sqrt(np.where(FREQUENCY == 0, 1, 2) / 8) * np.cos(np.pi * FREQUENCY * (2 * PLACE + 1) / 16)
TO_YCC = np.array([[0.299, -0.168735892, 0.5], [0.587, -0.331264108, -0.418687589], [0.114, 0.5, -0.081312411]])


def jpeg_compression(keys: Array, x: Array, rows: Rows, at: At) -> Array:
    """Compressed at a quality of 1 to 100 and decoded again. Not random."""
    del keys
    levels, (_, height, width, channels) = jnp.round(255 * x), x.shape
    steps = [
        jnp.asarray(np.stack([_steps(base, q) for q in rows]), jnp.float32)[at] for base in (LUMINANCE, CHROMINANCE)
    ]
    if channels == 1:
        luma = _filled(levels[..., 0], 8, 8)
        return _coded(luma, steps[0])[:, :height, :width, None] / 255
    ycc = _rounded(jnp.tensordot(levels, TO_YCC.astype(np.float32), 1) + np.array([0, 128, 128], np.float32))
    planes = [_filled(ycc[..., i], 2, 16) for i in range(3)]
    luma = _coded(_filled(planes[0], 16, 16), steps[0])[:, :height, :width]
    chroma = [_coded(_filled(_halved(plane), 8, 8), steps[1]) for plane in planes[1:]]
    chroma = [_enlarged(plane[:, : -(-height // 2), : -(-width // 2)]) for plane in chroma]
    cb, cr = (plane[:, :height, :width] - 128 for plane in chroma)
    rgb = [luma + 1.402 * cr, luma - 0.344136286 * cb - 0.714136286 * cr, luma + 1.772 * cb]
    return jnp.clip(_rounded(jnp.stack(rgb, axis=-1)), 0, 255) / 255


def _filled(plane, rows, columns):
    """Filled up to multiples of rows and columns with what stands at the border.

    libjpeg fills to the right before it halves the resolution, and downwards after that.
    """
    _, height, width = plane.shape
    return jnp.pad(plane, ((0, 0), (0, -height % rows), (0, -width % columns)), mode="edge")


def _rounded(x):
    return jnp.floor(x + 0.5)


def _steps(base, quality):
    """The table of a quality, as libjpeg scales it."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((base * scale + 50) // 100, 1, 255)


def _coded(plane, steps):
    """Levels [n, h, w], multiples of 8, after their cosine coefficients were rounded to multiples of the steps."""
    n, height, width = plane.shape
    cosines = COSINES.astype(np.float32)
    blocks = plane.reshape(n, height // 8, 8, width // 8, 8) - 128
    coefficients = jnp.einsum("ui,nyixj,vj->nyuxv", cosines, blocks, cosines)
    kept = jnp.sign(coefficients) * _rounded(jnp.abs(coefficients) / steps[:, None]) * steps[:, None]
    back = jnp.einsum("ui,nyuxv,vj->nyixj", cosines, kept, cosines)
    return jnp.clip(_rounded(back + 128), 0, 255).reshape(n, height, width)


def _halved(plane):
    """Means over 2 x 2 levels; halves are rounded down and up in turn, as libjpeg has it."""
    n, height, width = plane.shape
    total = plane.reshape(n, height // 2, 2, width // 2, 2).sum(axis=(2, 4))
    return jnp.floor((total + 1 + jnp.arange(width // 2) % 2) / 4)


def _enlarged(plane):
    """Twice the size by a triangle filter (3/4 of the nearer level, 1/4 of the other, on both axes), as libjpeg."""
    n, height, width = plane.shape
    up, down = (jnp.concatenate(p, 1) for p in ((plane[:, :1], plane[:, :-1]), (plane[:, 1:], plane[:, -1:])))
    rows = jnp.stack([3 * plane + up, 3 * plane + down], axis=2).reshape(n, 2 * height, width)
    left, right = (jnp.concatenate(p, 2) for p in ((rows[..., :1], rows[..., :-1]), (rows[..., 1:], rows[..., -1:])))
    pairs = jnp.stack([jnp.floor((3 * rows + left + 8) / 16), jnp.floor((3 * rows + right + 7) / 16)], axis=3)
    return pairs.reshape(n, 2 * height, 2 * width)
