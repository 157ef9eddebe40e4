"""Published weights under our models' names, and weights in another floating type, for export."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import pretrained, weight_files
from jaxcls.models.published import PUBLISHED, Published
from jaxcls.models.state_dict import to_state_dict


def read_published(
    source: str,
    name: str,
    *,
    classes: int | None = None,
    size: int | None = None,
    channels: int | None = None,
    fields: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """The state dict of a file, as a registered model names it.

    Args:
      source: a file of weights, or hf-hub:ORG/NAME.
      name: of the model.
      classes, size, channels: of the model and its pictures; None for the published ones.
      fields: of the model, as NAME=VALUE.

    Raises:
      UserError: where the file can't be read, or lacks something.
    """
    known = PUBLISHED.get(name, Published(""))
    parsed: dict[str, Any] = dict(map(models.parse_field, fields))
    model = models.create(name, num_classes=classes or known.classes, **parsed)
    side = size or known.size
    image = jax.ShapeDtypeStruct((1, side, side, channels or known.channels), np.float32)
    shapes = jax.eval_shape(lambda key, x: model.init(key, x, train=False), jax.random.key(0), image)
    weights, report = pretrained.match(model, shapes, weight_files.read(source))
    if report.kept:
        missing, reason = next(iter(report.kept.items()))
        raise UserError(f"{source} has no {missing} for {name} ({reason}); see --classes, --field")
    return to_state_dict(weights)


def cast(state: Mapping[str, np.ndarray], dtype: str) -> dict[str, np.ndarray]:
    """All floating-point values in another type.

    Raises:
      UserError: where there are numbers that are too large for it.
    """
    return {name: _cast(name, value, dtype) for name, value in state.items()}


def _cast(name, value, dtype):
    if not jnp.issubdtype(value.dtype, jnp.floating):
        return value
    with np.errstate(over="ignore"):
        new = value.astype(jnp.dtype(dtype))
    if not np.array_equal(np.isfinite(new.astype(np.float32)), np.isfinite(value.astype(np.float32))):
        raise UserError(f"{name} has values up to {np.abs(value).max():.4g}, too large for {dtype}; use bfloat16")
    return new
