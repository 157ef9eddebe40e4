"""MixUp and CutMix: two pictures become one, and their labels too.

The neighbours 2i and 2i+1 of a batch are partners: each gets the other's share. The order of a batch is random already,
so this is as good as any pairing, and nothing crosses devices. An odd last example stays as it is. Pictures become
float32 on the scale of 0..255; labels must be float32 [n, classes] (`device.compose` sees to it).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcls.augment.base import Context, Mixing, Operation, batch_keys, check_probability, chosen, fold, split, uniform
from jaxcls.augment.erasing import inside
from jaxcls.hyperparameters import number

MODES = ("pair", "batch")
POINTS = 4096  # of the quantile function of Beta


def mixup(alpha: float = 0.2, p: float = 1.0, mode: str = "pair", *, context: Context) -> Operation:
    """Blends the two pictures of a pair and their labels, `lam * own + (1 - lam) * other`, lam from Beta(alpha, alpha).

    Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, section 2. The authors' code, torchvision and
    timm's default draw one lam for a whole batch; here each pair has its own unless the mode says otherwise.

    Args:
      alpha: above 0; small ones leave most pairs nearly unmixed.
      p: probability, of each pair or of the whole batch.
      mode: "pair": lam from the key of the pair's even example; "batch": one for the global batch, the same on any
        number of devices, processes and micro-batches.
      context: base.Context of the run.

    Raises:
      ValueError: for impossible arguments.
    """
    alpha, p = _checked(alpha, p, mode)

    def operation(keys, batch):
        whether, which = split(_pair_keys(keys, batch, mode, context, "mixup"), 2)
        lam = jnp.where(chosen(whether, number(p, "mixing.p")), _beta(which, alpha), 1)
        image, label = mix(batch["image"], batch["label"], lam)
        return {**batch, "image": image, "label": label}

    return Mixing(operation, mode)


def cutmix(alpha: float = 1.0, p: float = 1.0, mode: str = "pair", *, context: Context) -> Operation:
    """Pastes a box of the one picture of a pair into the other, at the same place; labels by the exact areas.

    The box has 1 - lam of the area and the picture's shape, lam from Beta(alpha, alpha), and is centred on any pixel;
    what sticks out is clipped and does not count. Source: Yun et al., CutMix: Regularization Strategy to Train Strong
    Classifiers with Localizable Features, section 3.1. Arguments and errors as of `mixup`; one box where that has one
    lam.
    """
    alpha, p = _checked(alpha, p, mode)

    def operation(keys, batch):
        height, width = batch["image"].shape[-3:-1]  # of a clip each frame has the box
        whether, which, where = split(_pair_keys(keys, batch, mode, context, "cutmix"), 3)
        lam = jnp.where(chosen(whether, number(p, "mixing.p")), _beta(which, alpha), 1)
        centre = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, jnp.array([height, width])))(where)
        image, label = cut(batch["image"], batch["label"], cutmix_box(lam, centre, height, width))
        return {**batch, "image": image, "label": label}

    return Mixing(operation, mode)


def mix(images: Array, labels: Array, lam: Array) -> tuple[Array, Array]:
    """The examples 2i and 2i+1 blended with lam[i] of their own.

    Args:
      images: [n, ...], of any rank.
      labels: float [n, classes].
      lam: float32 [n // 2], in [0, 1].

    Returns:
      (float32 images, labels), of the same shapes.
    """
    return _blended(images.astype(jnp.float32), lam), _blended(labels, lam)


def cut(images: Array, labels: Array, box: Array) -> tuple[Array, Array]:
    """The examples 2i and 2i+1 with box[i] of each other, int32 [n // 2, 4]: top, left, bottom, right (exclusive).

    A label keeps the share of the area outside of the box. Images are [n, ..., h, w, c]. Otherwise as `mix`.
    """
    images = images.astype(jnp.float32)
    height, width = images.shape[-3:-1]
    own = _pairs(images)
    where = jnp.expand_dims(inside(box, height, width), range(1, own.ndim - 3))
    pasted = jnp.where(where, own[:, ::-1], own)
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    return _joined(pasted, images), _blended(labels, 1 - area / (height * width))


def cutmix_box(lam: Array, centre: Array, height: int, width: int) -> Array:
    """The boxes int32 [m, 4] of `cut` for lam float32 [m] and centres int32 [m, 2] (y, x).

    Half a side is rounded down, as torchvision and timm have it; so lam = 1 gives an empty box.
    """
    size = jnp.array([[height, width]])
    half = jnp.floor(0.5 * jnp.sqrt(1 - lam)[:, None] * size).astype(jnp.int32)
    return jnp.concatenate([jnp.maximum(centre - half, 0), jnp.minimum(centre + half, size)], axis=1)


def _checked(alpha, p, mode):
    """(alpha, p) as floats. Raises ValueError where one of the three can't be."""
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0 < alpha < float("inf"):
        raise ValueError(f"alpha must be a number above 0, not {alpha!r}")
    if mode not in MODES:
        raise ValueError(f"mode can be 'pair' or 'batch', not {mode!r}")
    return float(alpha), check_probability(p)


def _pair_keys(keys, batch, mode, context, name):
    """Keys [n // 2]: that of the even example, or one for the whole batch and the operation of that name."""
    if mode == "batch":
        # The keys of a batch are not yet apart for the operations of a list, as those of the examples are.
        keys = fold(batch_keys(context, batch), int.from_bytes(name.encode()[:3]))
    return _pairs(keys)[:, 0]


def _beta(keys, alpha):
    """float32 [n] of Beta(alpha, alpha): its quantile function, linear between 4097 points, at uniform numbers.

    The distribution function is nowhere off by more than 1/4096. `jax.random.beta` is exact, but its nested loops of
    rejection take seconds to compile, and an accelerator waits for the host in each round.
    """
    from scipy.special import betaincinv

    points = betaincinv(alpha, alpha, np.linspace(0, 1, POINTS + 1)).astype(np.float32)
    quantiles = jnp.asarray(number(points, "mixing.alpha"))
    place = POINTS * uniform(keys)
    cell = place.astype(jnp.int32)
    return quantiles[cell] + (place - cell) * (quantiles[cell + 1] - quantiles[cell])


def _blended(x, lam):
    """Written so that lam = 1 changes no bit."""
    own = _pairs(x)
    other = (1 - lam).reshape(-1, *[1] * x.ndim)
    return _joined(own + other * (own[:, ::-1] - own), x)


def _pairs(x):
    """[n, ...] as [n // 2, 2, ...], without an odd last one. A reshape, which keeps a sharded batch where it is."""
    half = x.shape[0] // 2
    return x[: 2 * half].reshape(half, 2, *x.shape[1:])


def _joined(pairs, x):
    """`_pairs` undone; an odd last example is that of x."""
    out = pairs.reshape(-1, *x.shape[1:])
    return out if out.shape[0] == x.shape[0] else jnp.concatenate([out, x[out.shape[0] :]])


ANY_RANK = ("mixup",)
OPERATIONS = {"mixup": mixup, "cutmix": cutmix}
