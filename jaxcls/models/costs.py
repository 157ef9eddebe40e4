"""What a model costs as one report: counts from shapes, and on request the speed of the compiled model."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import traverse_util

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import summary, timing
from jaxcls.models.base import Classifier
from jaxcls.models.published import FRAMES, PUBLISHED, Published

PARTS = ("stage", "block", "layer", "parameter")


def describe(
    name: str,
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    frames: int | None = None,
    classes: int | None = None,
    fields: Mapping[str, Any] | None = None,
    precision: str = "float32",
    by: str = "stage",
    batches: Sequence[int] = (),
) -> dict[str, Any]:
    """Everything about one model, as JSON takes it.

    Args:
      name: of the model.
      size, channels, classes: (height, width) of pictures, their channels, classes; None for the published ones.
      frames: of a clip, for a model of clips; None for the published ones, or `published.FRAMES`.
      fields: of the model.
      precision: the dtype of the computation.
      by: what a row of `rows` is, one of PARTS.
      batches: sizes of batches to compile and measure.

    Raises:
      UserError: where the model is not possible.
    """
    known, fields = PUBLISHED.get(name, Published("")), dict(fields or {})
    classes = known.classes if classes is None else classes
    height, width = size or (known.size, known.size)
    model = build(name, classes, precision, fields)
    if frames and not model.clips:
        raise UserError(f"model {name!r} takes pictures, not clips: leave --frames away.")
    clip = (frames or known.frames or FRAMES,) if model.clips else ()
    shape = (*clip, height, width, channels or known.channels)
    report = {"model": name, "fields": fields, "picture": list(shape), "classes": classes, "names": known.library}
    report |= {"precision": precision, **of_model(model, shape, by=by, batches=batches)}
    if (shape, classes, fields) == (known.shape, known.classes, {}) and known.gmacs:
        report["published_gmacs"] = float(known.gmacs)
    return report


def of_model(model: Any, shape: tuple[int, ...], *, by: str = "stage", batches: Sequence[int] = ()) -> dict[str, Any]:
    """The counts of a model for pictures of `shape`, and its speed; as `describe`. Raises UserError."""
    counted = summary.summarize(model, shape)
    report = {
        **_counts(counted.total),
        "parameter_bytes": counted.parameter_bytes,
        "statistics_bytes": counted.statistics_bytes,
        "kept_bytes_per_picture": summary.kept_bytes(model, shape),
        "by": by,
        "rows": parameters(model, shape) if by == "parameter" else [_row(row) for row in counted.rows(by)],
    }
    if batches:
        device = jax.devices()[0]
        report |= {"device": device.device_kind, "platform": device.platform, "cpus": os.cpu_count()}
        report["measured"] = [timing.measure(model, shape, batch) for batch in batches]
    return report


def build(name: str, classes: int, precision: str, fields: Mapping[str, Any]) -> Classifier:
    """`models.create`, whatever the fields. Raises UserError where it is not possible."""
    try:
        return models.create(name, **{"num_classes": classes, "dtype": precision, **fields})
    except (TypeError, ValueError) as error:  # a text where a model compares numbers, ..
        raise UserError(f"model {name!r} cannot be built with {fields}: {error}") from error


def parameters(model: Classifier, shape: tuple[int, ...]) -> list[dict[str, Any]]:
    """Name, shape, dtype and number of elements of every parameter."""
    images = jax.ShapeDtypeStruct((1, *shape), "float32")
    variables = jax.eval_shape(model.init, jax.eval_shape(lambda: jax.random.key(0)), images)
    flat = traverse_util.flatten_dict(variables.get("params", {}), sep="/")
    return [
        {"name": name, "shape": list(leaf.shape), "dtype": str(leaf.dtype), "parameters": leaf.size}
        for name, leaf in flat.items()
    ]


def _counts(row):
    return {"parameters": row.parameters, "multiply_adds": row.macs, "activations": row.activations}


def _row(row):
    return {"name": row.name, "kind": row.kind, "output": list(row.shape), **_counts(row)}
