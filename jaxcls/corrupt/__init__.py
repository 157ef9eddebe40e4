"""The common corruptions of pictures, by which robustness is measured: 15 of them at five strengths, in jax.numpy.

Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations". The
amounts are those of the authors' code, which has one set for 32 x 32 pixels (CIFAR-10-C) and one for 224 x 224
(ImageNet-C). A corruption is batched and draws from one key an example, so it depends on no device or batch.

Where we differ, apart from the random numbers: results are rounded to the nearest level instead of cut off, and not
stored as a JPEG; glass blur moves all pixels of a pass at once; frost is drawn instead of photographed. The files say
more.
"""

import functools
from collections.abc import Callable, Iterable

import jax.numpy as jnp
from jax import Array

from jaxcls.corrupt import blur, digital, jpeg, noise, weather
from jaxcls.corrupt.amounts import LARGE, SMALL
from jaxcls.corrupt.noise import At
from jaxcls.errors import UserError

GROUPS = {
    "noise": {
        "gaussian_noise": noise.gaussian_noise,
        "shot_noise": noise.shot_noise,
        "impulse_noise": noise.impulse_noise,
    },
    "blur": {
        "defocus_blur": blur.defocus_blur,
        "glass_blur": blur.glass_blur,
        "motion_blur": blur.motion_blur,
        "zoom_blur": blur.zoom_blur,
    },
    "weather": {
        "snow": weather.snow,
        "frost": weather.frost,
        "fog": weather.fog,
        "brightness": weather.brightness,
    },
    "digital": {
        "contrast": digital.contrast,
        "elastic_transform": digital.elastic_transform,
        "pixelate": digital.pixelate,
        "jpeg_compression": jpeg.jpeg_compression,
    },
}
CORRUPTIONS = {name: fn for group in GROUPS.values() for name, fn in group.items()}
STRENGTHS = (1, 2, 3, 4, 5)
LARGE_FROM = 96  # pixels of the short side from which the set for 224 is used
LEAST = 16  # pixels


def corrupted(name: str, keys: Array, images: Array, strength: At) -> Array:
    """Pictures with a corruption.

    Args:
      name: of `CORRUPTIONS`.
      keys: [n], one an example.
      images: uint8 [n, h, w, c] with 1 or 3 channels, of at least 16 x 16; the short side decides between the sets.
      strength: int from 0 (the picture itself) to 5, the same for all; may be traced.

    Returns:
      uint8 [n, h, w, c].

    Raises:
      UserError: for smaller pictures or another number of channels.
    """
    _, height, width, channels = images.shape
    if min(height, width) < LEAST or channels not in (1, 3):
        raise UserError(
            f"corruptions are for grey and colour pictures of {LEAST}x{LEAST} and more, not {height}x{width}x{channels}"
        )
    rows = (SMALL if min(height, width) < LARGE_FROM else LARGE)[name]
    at = jnp.clip(jnp.asarray(strength) - 1, 0, 4)
    x = CORRUPTIONS[name](keys, images.astype(jnp.float32) / 255, rows, at)
    levels = jnp.round(jnp.clip(x, 0, 1) * 255).astype(jnp.uint8)
    return jnp.where(jnp.asarray(strength) == 0, images, levels)


def branches(names: Iterable[str]) -> list[Callable[[Array, Array, At], Array]]:
    """A function `(keys, images, strength) -> images` for each name, for `jax.lax.switch`."""
    return [functools.partial(corrupted, name) for name in names]
