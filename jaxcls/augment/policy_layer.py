"""One layer of an augmentation policy: an operation and a magnitude for each example, computed for the whole batch."""

from collections.abc import Collection

import jax
import jax.numpy as jnp
from jax import Array

from jaxcls.augment import enhance, geometry, levels
from jaxcls.augment.base import Fill, select
from jaxcls.augment.policy_tables import INDEX, OPS


def apply(
    images: Array,
    op: Array,
    magnitude: Array,
    *,
    names: Collection[str] = OPS,
    interpolation: str = "nearest",
    fill: Fill = 0,
) -> Array:
    """One operation for each example, computed for the whole batch in one pass of each kind.

    Every example goes through one warp, one table of levels and one blend; what an operation has no use for is the
    identity, which all three leave exact.

    Args:
      images: uint8 [n, h, w, c].
      op: int [n], places in OPS.
      magnitude: float32 [n], signed, in the units of policy_tables.py.
      names: the operations that can occur; the others are not computed.
      interpolation, fill: of the warp.

    Returns:
      uint8 [n, h, w, c].
    """
    if any(name in names for name in OPS[1:6]):
        matrices = _matrices(op, magnitude, *images.shape[1:3])
        images = _stored(geometry.resample(images, matrices, interpolation, fill))
    if any(name in names for name in ("Brightness", "Contrast", *OPS[10:])):
        images = _stored(levels.look_up(images, _table(images, op, magnitude, names)))
    if "Color" not in names and "Sharpness" not in names:
        return images
    is_color, is_sharpness = op == INDEX["Color"], op == INDEX["Sharpness"]
    base = select(is_color, jnp.broadcast_to(enhance.grey(images), images.shape), enhance.smooth(images))
    return enhance.blend(base, images, enhance.per_example(jnp.where(is_color | is_sharpness, 1 + magnitude, 1)))


def _stored(x):
    """The array as it is, but written to memory: fused into what reads it, it would be computed several times over."""
    return jax.lax.optimization_barrier(x)


def _matrices(op, magnitude, height, width):
    """Output to input, Fixed [n, 3, 3]. Shears keep the first row or column in place, as torchvision's do here."""

    def of(name):
        return jnp.where(op == INDEX[name], magnitude, 0)

    nothing = jnp.zeros_like(magnitude)
    shift_x, shift_y = (-jnp.trunc(of(name)) for name in ("TranslateX", "TranslateY"))
    rows = [[nothing, of("ShearX"), shift_x], [of("ShearY"), nothing, shift_y], [nothing] * 3]
    return geometry.rotation(of("Rotate"), height, width) + jnp.moveaxis(jnp.array(rows), -1, 0)


def _table(images, op, magnitude, names):
    """The table of levels of each example's operation, [n, 1, 256, c]."""
    ramp, factor = levels.RAMP, enhance.per_example(1 + magnitude)
    tables = {
        "Brightness": lambda: enhance.brightness(ramp, 1 + magnitude),
        "Contrast": lambda: enhance.blend(enhance.per_example(enhance.mean_grey(images)), ramp, factor),
        "Posterize": lambda: levels.posterize(ramp, magnitude),
        "Solarize": lambda: levels.solarize(ramp, magnitude),
        "AutoContrast": lambda: levels.autocontrast_table(images),
        "Equalize": lambda: levels.equalize_table(levels.histogram(images)),
        "Invert": lambda: levels.invert(ramp),
    }
    changes = [name for name in tables if name in names]
    identity = jnp.broadcast_to(ramp, (images.shape[0], 1, 256, images.shape[-1]))

    def make():
        table = identity
        for name in changes:
            table = jnp.where(enhance.per_example(op) == INDEX[name], tables[name](), table)
        return table

    # The condition spares small batches the work, and, as a border that fusion can't cross, it keeps XLA on a CPU from
    # working out each pixel's entry anew where it is looked up: RandAugment takes 0.4 of the time
    return jax.lax.cond(jnp.any(jnp.isin(op, jnp.array([INDEX[name] for name in changes]))), make, lambda: identity)
