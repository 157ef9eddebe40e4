"""Augmentation policies: AutoAugment, RandAugment, TrivialAugment, AugMix, 3-Augment.

A policy draws an operation and a magnitude for each example and layer; `policy_layer.apply` computes one layer for the
whole batch.
What is drawn, the magnitudes and the operations are torchvision's on Pillow pictures (policy_tables.py).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcls.augment import enhance, levels, spatial
from jaxcls.augment.base import Fill, Operation, of_pictures, select, split, uniform
from jaxcls.augment.policy_layer import apply
from jaxcls.augment.policy_tables import AUTO_AUGMENT, INDEX, SIGNED, SPACES, magnitudes


def auto_augment(policy: str = "imagenet", interpolation: str = "nearest", fill: Fill = 0) -> Operation:
    """One of 25 learned pairs of operations, each with its own probability and magnitude.

    Source: Cubuk et al., AutoAugment: Learning Augmentation Strategies from Data.

    Args:
      policy: "imagenet", "cifar10" or "svhn".
      interpolation: of shears, translations and rotations, "nearest" or "bilinear".
      fill: what comes in from outside the picture, a level or one a channel.
    """
    if policy not in AUTO_AUGMENT:
        raise ValueError(f"there are the policies {', '.join(AUTO_AUGMENT)}, not {policy!r}")
    names = {name for pair in AUTO_AUGMENT[policy] for name, _, _ in pair}
    return _in_layers(functools.partial(draw_auto_augment, policy=policy), names, interpolation, fill)


def rand_augment(
    n: int = 2, magnitude: int = 9, bins: int = 31, interpolation: str = "nearest", fill: Fill = 0
) -> Operation:
    """n operations of 14, drawn evenly, all with the same magnitude.

    Source: Cubuk et al., RandAugment: Practical Automated Data Augmentation with a Reduced Search Space.

    Args:
      n: how many operations follow each other.
      magnitude: from 0 to bins - 1.
      bins: into how many values the ranges of the magnitudes are cut.
      interpolation, fill: as of `auto_augment`.
    """
    _check_whole("n", n, 1)
    _check_whole("bins", bins, 2)
    _check_whole("magnitude", magnitude, 0, bins - 1)
    draw = functools.partial(draw_rand_augment, n=n, magnitude=magnitude, bins=bins)
    return _in_layers(draw, SPACES["rand_augment"], interpolation, fill)


def trivial_augment_wide(bins: int = 31, interpolation: str = "nearest", fill: Fill = 0) -> Operation:
    """One operation of 14 with one of `bins` magnitudes over wide ranges, both drawn evenly.

    Source: Mueller and Hutter, TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation. interpolation and
    fill: as of `auto_augment`.
    """
    _check_whole("bins", bins, 2)
    draw = functools.partial(draw_trivial_augment_wide, bins=bins)
    return _in_layers(draw, SPACES["trivial_augment_wide"], interpolation, fill)


def augmix(
    severity: int = 3,
    width: int = 3,
    depth: int = -1,
    alpha: float = 1.0,
    interpolation: str = "bilinear",
    fill: Fill = 0,
) -> Operation:
    """The picture mixed with `width` copies that each went through a chain of operations.

    Source: Hendrycks et al., AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty. The loss on
    the consistency of several views is not part of it. Unlike torchvision's, which goes over to its tensor back end
    here, the operations are Pillow's, and the mix is rounded, not cut off, to levels.

    Args:
      severity: 1 to 10: magnitudes are drawn from the lowest `severity` of 10.
      width: number of chains.
      depth: operations in a chain; -1 for 1 to 3, drawn for each chain.
      alpha: of the Dirichlet distribution of the weights of the chains, and of the Beta distribution of their sum.
      interpolation, fill: as of `auto_augment`.
    """
    _check_whole("severity", severity, 1, 10)
    _check_whole("width", width, 1)
    if depth != -1:
        _check_whole("depth", depth, 1)
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not alpha > 0:
        raise ValueError(f"alpha must be above 0, not {alpha!r}")
    layer = _layer(SPACES["augmix"], interpolation, fill)

    def operation(keys, images):
        n, height, width_, channels = images.shape
        chains, weights = split(keys, 2)
        draw = functools.partial(draw_augmix, severity=severity, width=width, depth=depth)
        chain = jnp.repeat(images, width, axis=0)
        chain = layer(chain, *(x.reshape(n * width, -1) for x in draw(chains, height, width_)))
        chain = chain.reshape(n, width, height, width_, channels).astype(jnp.float32)
        share = jax.vmap(lambda key: mixing_weights(key, width, alpha))(weights)
        mixed = share[:, 0, None, None, None] * images
        for i in range(width):
            mixed += share[:, i + 1, None, None, None] * chain[:, i]
        return jnp.clip(jnp.round(mixed), 0, 255).astype(jnp.uint8)

    return of_pictures(operation)


def three_augment() -> Operation:
    """Grey, solarize or Gaussian blur, one of the three for each example.

    Source: Touvron et al., DeiT III: Revenge of the ViT, section 3.2; the crop, the flip and `color_jitter(0.3, 0.3,
    0.3)` that go with it are entries of their own. The blur is a Gaussian of 0.1 to 2 pixels, not Pillow's
    approximation by boxes.
    """

    def operation(keys, images):
        which, spread = uniform(keys, (2,)).T
        which, sigma = _evenly(which, 3), 0.1 + 1.9 * spread
        side = min(images.shape[1:3])
        blurred = enhance.gaussian_blur(images, sigma, min(13, 2 * side - 1))
        changed = select(which == 0, jnp.broadcast_to(enhance.grey(images), images.shape), blurred)
        return select(which == 1, levels.solarize(images, jnp.full(len(images), 128)), changed)

    return of_pictures(operation)


def draw_auto_augment(keys: Array, height: int, width: int, *, policy: str) -> tuple[Array, Array]:
    """(op, magnitude) [n, 2] of AutoAugment; what its probability leaves out is Identity."""
    pairs = [[(INDEX[name], p, place or 0) for name, p, place in pair] for pair in AUTO_AUGMENT[policy]]
    ops, shares, places = np.moveaxis(np.array(pairs, np.float32), -1, 0)
    drawn = uniform(keys, (5,))
    which, happens, sign = _evenly(drawn[:, 0], len(pairs)), drawn[:, 1:3], drawn[:, 3:5]
    op = jnp.where(happens < jnp.asarray(shares)[which], jnp.asarray(ops.astype(np.int32))[which], INDEX["Identity"])
    table = jnp.asarray(magnitudes("auto_augment", 10, height, width))
    return op, _signed(sign, op, table[op, jnp.asarray(places.astype(np.int32))[which]])


def draw_rand_augment(
    keys: Array, height: int, width: int, *, n: int, magnitude: int, bins: int
) -> tuple[Array, Array]:
    """(op, magnitude) [examples, n] of RandAugment."""
    which, sign = jnp.moveaxis(uniform(keys, (n, 2)), -1, 0)
    op = _of_space("rand_augment", which)
    table = jnp.asarray(magnitudes("rand_augment", bins, height, width)[:, magnitude])
    return op, _signed(sign, op, table[op])


def draw_trivial_augment_wide(keys: Array, height: int, width: int, *, bins: int) -> tuple[Array, Array]:
    """(op, magnitude) [n, 1] of TrivialAugment-Wide."""
    which, place, sign = jnp.moveaxis(uniform(keys, (1, 3)), -1, 0)
    op = _of_space("trivial_augment_wide", which)
    table = jnp.asarray(magnitudes("trivial_augment_wide", bins, height, width))
    return op, _signed(sign, op, table[op, _evenly(place, bins)])


def draw_augmix(keys: Array, height: int, width_: int, *, severity: int, width: int, depth: int) -> tuple[Array, Array]:
    """(op, magnitude) [n, width, layers] of AugMix; the end of a short chain is Identity."""
    layers = 3 if depth == -1 else depth
    which, place, sign, length = jnp.moveaxis(uniform(keys, (width, layers, 4)), -1, 0)
    op = _of_space("augmix", which)
    table = jnp.asarray(magnitudes("augmix", 10, height, width_))
    magnitude = _signed(sign, op, table[op, _evenly(place, severity)])
    if depth == -1:
        op = jnp.where(jnp.arange(layers)[None, None] <= _evenly(length[..., :1], layers), op, INDEX["Identity"])
    return op, magnitude


def mixing_weights(key: Array, width: int, alpha: float) -> Array:
    """float32 [1 + width]: the picture's weight 1 - m, and m ~ Beta(alpha, alpha) shared out by Dirichlet(alpha, ...).

    Both are Gamma variables divided by their sum; in logarithms, which small alphas need.
    """
    if alpha == 1:  # exponential, without the loop that other Gammas need
        drawn = jnp.log(jax.random.exponential(key, (2 + width,)))
    else:
        drawn = jax.random.loggamma(key, jnp.full(2 + width, alpha, jnp.float32))
    rest, m = jax.nn.softmax(drawn[:2])
    return jnp.concatenate([rest[None], m * jax.nn.softmax(drawn[2:])])


def _evenly(drawn, count):
    """Whole numbers below `count` from uniform ones in [0, 1); one draw for all, since each costs time to compile."""
    return (drawn * count).astype(jnp.int32)


def _of_space(policy, drawn):
    """Places in OPS, drawn evenly from what the policy may use."""
    places = jnp.array([INDEX[name] for name in SPACES[policy]], jnp.int32)
    return places[_evenly(drawn, len(places))]


def _signed(drawn, op, magnitude):
    """The magnitude with a random sign where the operation goes either way."""
    return jnp.where(jnp.asarray(SIGNED)[op] & (drawn < 0.5), -magnitude, magnitude)


def _in_layers(draw, names, interpolation, fill):
    """The operation of a policy from `draw(keys, height, width) -> (op, magnitude) [n, layers]`."""
    layer = _layer(names, interpolation, fill)
    return of_pictures(lambda keys, images: layer(images, *draw(keys, *images.shape[1:3])))


def _layer(names, interpolation, fill):
    """(images, op [n, layers], magnitude [n, layers]) -> images: the layers one after another, compiled once."""
    spatial.check_warp(interpolation, fill)

    def layers(images, op, magnitude):
        def step(images, drawn):
            return apply(images, *drawn, names=names, interpolation=interpolation, fill=fill), None

        return jax.lax.scan(step, images, (op.T, magnitude.T))[0]

    return layers


def _check_whole(what, value, low, high=None):
    """Raises ValueError unless the value is a whole number from low to high."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        most = "" if high is None else f" to {high}"
        raise ValueError(f"{what} must be a whole number from {low}{most}{'' if most else ' up'}, not {value!r}")


OPERATIONS = {
    "auto_augment": auto_augment,
    "rand_augment": rand_augment,
    "trivial_augment_wide": trivial_augment_wide,
    "augmix": augmix,
    "three_augment": three_augment,
}
