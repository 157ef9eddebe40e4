"""Transforms of colours: jitter, grey, HSV, and what Pillow's ImageOps and ImageEnhance do, each with a probability.

The functions behind them are in `enhance.py` and `levels.py`. Grey pictures have no hue and no saturation: what would
change these leaves them as they are.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcls.augment import enhance, levels
from jaxcls.augment.base import (
    Operation,
    Range,
    check_probability,
    check_range,
    chosen,
    of_pictures,
    select,
    split,
    uniform,
)
from jaxcls.errors import UserError


def color_jitter(
    brightness: Range = 0, contrast: Range = 0, saturation: Range = 0, hue: Range = 0, p: float = 1.0
) -> Operation:
    """Brightness, contrast, saturation and hue, each by a random amount and in a random order, as torchvision has it.

    Args:
      brightness, contrast, saturation: x for factors from max(0, 1 - x) to 1 + x, or the pair (low, high) of factors.
      hue: x of at most 0.5 for turns from -x to x of the circle, or the pair (low, high).
      p: probability of a change at all.
    """
    names = dict(brightness=brightness, contrast=contrast, saturation=saturation)
    pairs = [_about_one(name, value) for name, value in names.items()]
    factors = [(kind, pair) for kind, pair in enumerate(pairs) if pair != (1.0, 1.0)]
    kinds = jnp.array([kind for kind, _ in factors], jnp.int32)
    low, high = np.array([pair for _, pair in factors], np.float32).reshape(-1, 1, 2).T  # [1, factors] each
    turns = _around_zero("hue", hue, 0.5)

    def change(keys, images):
        amounts, orders, places = split(keys, 3)
        drawn = uniform(amounts, (len(factors) + 1,))
        factor, turn = low + (high - low) * drawn[:, 1:], turns[0] + (turns[1] - turns[0]) * drawn[:, 0]
        order = jax.vmap(lambda key: jax.random.permutation(key, len(factors)))(orders)
        kind, factor = kinds[order], jnp.take_along_axis(factor, order, axis=1)
        if turns == (0.0, 0.0):
            return _enhance_in_turn(images, kind, factor)
        # Hue is the costly one, so it is computed once, between those that go before and those that go after
        place = jax.vmap(lambda key: jax.random.randint(key, (1,), 0, len(factors) + 1))(places)
        before = jnp.arange(len(factors))[None] < place
        images = enhance.hue(_enhance_in_turn(images, kind, jnp.where(before, factor, 1)), turn)
        return _enhance_in_turn(images, kind, jnp.where(before, 1, factor))

    return _with_probability(p, change)


def _enhance_in_turn(images, kinds, factors):
    """Brightness (kind 0), contrast (1) or saturation (2), [n, k] kinds and factors in order; factor 1 is nothing."""

    def step(images, drawn):
        kind, factor = (enhance.per_example(x) for x in drawn)
        mean = enhance.per_example(enhance.mean_grey(images))
        base = jnp.where(kind == 2, enhance.grey(images), jnp.where(kind == 1, mean, 0))
        return enhance.blend(base, images, factor), None

    # A loop compiles once, and no step of it is fused into the hue, which would work it out for each channel again
    return jax.lax.scan(step, images, (kinds.T, factors.T))[0]


def hsv_jitter(hue: Range = 0, saturation: Range = 0, value: Range = 0, p: float = 1.0) -> Operation:
    """Random amounts in Pillow's HSV: h + u * hue (of the circle), s * (1 + u * saturation), v * (1 + u * value).

    Each u is drawn evenly from -1 to 1; results are rounded, hue goes round and the others are clipped. This is what
    detectors of the YOLO family call HSV gains. Of grey pictures, only the value changes.

    Args:
      hue: at most 0.5.
      saturation, value: at most 1.
      p: probability of a change at all.
    """
    turn = _around_zero("hue", hue, 0.5)[1]
    others = ("saturation", saturation), ("value", value)
    gains = np.array([_around_zero(what, gain, 1.0)[1] for what, gain in others], np.float32)

    def change(keys, images):
        drawn = uniform(keys, (3,), -1.0, 1.0)
        scale = 1 + gains[None] * drawn[:, 1:]
        if images.shape[-1] == 1:
            return _scaled(images, scale[:, 1:])
        hsv = enhance.rgb_to_hsv(images)
        turned = jnp.round(hsv[..., :1] + enhance.per_example(255 * turn * drawn[:, 0])) % 255
        return enhance.hsv_to_rgb(jnp.concatenate([turned.astype(jnp.uint8), _scaled(hsv[..., 1:], scale)], axis=-1))

    return _with_probability(p, change)


def _scaled(levels, scale):
    """Levels [n, h, w, c] times scale [n, c], rounded and clipped to uint8."""
    return jnp.clip(jnp.round(levels * scale[:, None, None, :]), 0, 255).astype(jnp.uint8)


def random_grey(p: float = 0.1) -> Operation:
    """The luma in all channels with probability p; the number of channels stays (torchvision's RandomGrayscale)."""
    return _with_probability(p, lambda _, images: jnp.broadcast_to(enhance.grey(images), images.shape))


def posterize(bits: int, p: float = 1.0) -> Operation:
    """Keeps the upper `bits` (0 to 8) bits of each level with probability p."""
    if isinstance(bits, bool) or not isinstance(bits, int) or not 0 <= bits <= 8:
        raise ValueError(f"bits must be a whole number from 0 to 8, not {bits!r}")
    return _with_probability(p, lambda keys, images: levels.posterize(images, jnp.full(keys.shape[0], bits)))


def solarize(threshold: Range, p: float = 1.0) -> Operation:
    """Inverts the levels from the threshold (0 to 255, or 256 for none) up, with probability p."""
    low, high = check_range("threshold", threshold, 0, 256)
    return _with_probability(p, lambda keys, images: levels.solarize(images, uniform(keys, (), low, high)))


def equalize(p: float = 1.0) -> Operation:
    """Spreads the levels of each channel evenly (ImageOps.equalize) with probability p."""
    return _with_probability(p, lambda _, images: levels.equalize(images))


def autocontrast(p: float = 1.0) -> Operation:
    """Stretches each channel to the full range (ImageOps.autocontrast) with probability p."""
    return _with_probability(p, lambda _, images: levels.autocontrast(images))


def invert(p: float = 1.0) -> Operation:
    """255 minus each level, with probability p."""
    return _with_probability(p, lambda _, images: levels.invert(images))


def sharpness(factor: Range, p: float = 1.0) -> Operation:
    """Sharpness (ImageEnhance.Sharpness) by a factor, or one drawn from a pair, with probability p.

    0 is Pillow's SMOOTH, 1 the picture, above 1 sharper.
    """
    low, high = check_range("factor", factor, 0)
    return _with_probability(p, lambda keys, images: enhance.sharpness(images, uniform(keys, (), low, high)))


def gaussian_blur(sigma: Range = (0.1, 2.0), kernel: int = 0, p: float = 1.0) -> Operation:
    """A Gaussian blur with a sigma in pixels, or one drawn from a pair, with probability p (torchvision's, reflecting).

    kernel: its width in pixels, odd; 0 for about a tenth of the picture's short side, at least 3 (SimCLR, appendix A).
    """
    low, high = check_range("sigma", sigma, 1e-3)
    if isinstance(kernel, bool) or not isinstance(kernel, int) or kernel < 0 or (kernel and kernel % 2 == 0):
        raise ValueError(f"kernel must be an odd whole number, or 0 for a tenth of the picture, not {kernel!r}")

    def change(keys, images):
        side = min(images.shape[1:3])
        width = kernel or min(max(3, side // 20 * 2 + 1), 2 * side - 1)
        if width > 2 * side - 1:
            raise UserError(
                f"a Gaussian blur over {width} pixels needs pictures of at least {width // 2 + 1}, not {side}"
            )
        return enhance.gaussian_blur(images, uniform(keys, (), low, high), width)

    return _with_probability(p, change)


def grey(channels: int = 1) -> Operation:
    """Luma (ITU-R 601) of RGB pictures, as Pillow's "L" rounds it, in 1 or 3 equal channels. Not random."""
    if channels not in (1, 3):
        raise ValueError(f"channels can be 1 or 3, not {channels!r}")
    return of_pictures(lambda _, images: jnp.repeat(enhance.grey(images), channels, axis=-1))


def hsv() -> Operation:
    """RGB to hue, saturation, value, each on 0..255 (hue: 255 is once round), as Pillow's "HSV". Not random.

    Grey pictures have nothing but the value, and stay.
    """
    return of_pictures(lambda _, images: images if images.shape[-1] == 1 else enhance.rgb_to_hsv(images))


def _with_probability(p, change):
    """An operation from `(keys, uint8 images) -> uint8 images`, applied to each example with probability p."""
    p = check_probability(p)

    def operation(keys, images):
        whether, own = split(keys, 2)
        changed = change(own, images)
        return changed if p == 1 else select(chosen(whether, p), changed, images)

    return of_pictures(operation)


def _about_one(what, value):
    """(low, high) factors: a number x means max(0, 1 - x) to 1 + x."""
    if isinstance(value, (tuple, list)):
        return check_range(what, value, 0)
    amount = check_range(what, value, 0)[0]
    return max(0.0, 1 - amount), 1 + amount


def _around_zero(what, value, most):
    """(low, high): a number x means -x to x; neither may go beyond `most`."""
    if isinstance(value, (tuple, list)):
        return check_range(what, value, -most, most)
    amount = check_range(what, value, 0, most)[0]
    return -amount, amount


COLOURS = ("color_jitter", "hsv_jitter", "random_grey", "grey", "hsv")  # luma, hue, saturation: of 1 or 3 channels
ANY_RANK = ("random_grey", "invert", "grey", "hsv")  # pixel by pixel: channels last is all they ask for
OPERATIONS = {
    "color_jitter": color_jitter,
    "hsv_jitter": hsv_jitter,
    "random_grey": random_grey,
    "posterize": posterize,
    "solarize": solarize,
    "equalize": equalize,
    "autocontrast": autocontrast,
    "invert": invert,
    "sharpness": sharpness,
    "gaussian_blur": gaussian_blur,
    "grey": grey,
    "hsv": hsv,
}
