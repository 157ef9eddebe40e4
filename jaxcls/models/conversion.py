"""State dicts as the library of a model's names takes them, of published weights too, with what describes them."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import basis, pretrained, weight_files
from jaxcls.models.base import Classifier
from jaxcls.models.origin import Says
from jaxcls.models.published import PUBLISHED, Published
from jaxcls.models.state_dict import to_state_dict

_UNTOLD = {"parent", "name", "num_classes", "dtype", "param_dtype", "axis_name", "remat", "dropout", "block_dropout",
         "stochastic_depth", "momentum", "return_attention", "aux_logits", "scores"}  # fmt: skip


def read_published(
    source: str,
    name: str,
    *,
    classes: int | None = None,
    size: int | None = None,
    channels: int | None = None,
    fields: Sequence[str] = (),
) -> tuple[Classifier, dict[str, np.ndarray], dict[str, str]]:
    """(model, the state dict of a file as that names it, metadata: what the file says of itself).

    Args:
      source: a file of weights, or hf-hub:ORG/NAME.
      name: of the model.
      classes, size, channels: of the model and its pictures; None for the published ones.
      fields: of the model, as NAME=VALUE.

    Raises:
      UserError: where the file can't be read, lacks something, or says that it is another model's.
    """
    known = PUBLISHED.get(name, Published(""))
    parsed: dict[str, Any] = dict(map(models.parse_field, fields))
    model = models.create(name, num_classes=classes or known.classes, **parsed)
    side = size or known.size
    clip = (known.frames or 1,) if model.clips else ()
    image = jax.ShapeDtypeStruct((1, *clip, side, side, channels or known.channels), np.float32)
    shapes = jax.eval_shape(lambda key, x: model.init(key, x, train=False), jax.random.key(0), image)
    file = weight_files.read(source)
    weights, report = pretrained.match(model, shapes, file, basis.Use(name, field="--field {}={}"))
    if report.kept:
        missing, reason = next(iter(report.kept.items()))
        raise UserError(f"{source} has no {missing} for {name} ({reason}); see --classes, --field")
    return model, to_state_dict(weights), {"model": name, "fields": fields_of(name, model), **_said(file.says)}


def fields_of(name: str, model: Classifier) -> str:
    """As JSON: padding and epsilon of a model where it has a choice, and other fields that are not as usual.

    Those that only training sees are left out, as are those that no JSON can hold.
    """
    usual, found = models.create(name), {}
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        told = field.name in ("padding", "epsilon") or value != getattr(usual, field.name, value)
        if told and field.name not in _UNTOLD and _is_plain(value):
            found[field.name] = value
    return json.dumps(found)


def _is_plain(value):
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (str, int, float))


def _said(says: Says) -> dict[str, str]:
    normalize = {"mean": says.mean, "std": says.std} if says.mean and says.std else {}
    return {key: json.dumps(value) for key, value in {"normalize": normalize, "classes": says.classes}.items() if value}


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
