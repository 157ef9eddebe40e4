"""A model of its description: as the registry builds it, and then without what it does not keep."""

from collections.abc import Mapping
from typing import Any

from jaxcls import models
from jaxcls.prune.pruned import Pruned


def create(spec: Mapping[str, Any], **fields: Any) -> Any:
    """The model of {"name", "num_classes", "neck", "columns", "fields", "kept"}; neck, columns (`columns.to_json`) and
    kept (`kept.to_config`) are optional.

    `fields`: further ones of `models.create`, as `dtype`. Raises UserError where it is not possible.
    """
    module = models.create(
        spec["name"],
        num_classes=spec["num_classes"],
        neck=spec.get("neck", ""),
        columns=spec.get("columns", ()),
        **fields,
        **spec["fields"],
    )
    return of_module(module, spec.get("kept") or {})


def of_module(module: Any, kept: Mapping[str, str]) -> Any:
    """The module, or what is kept of it."""
    return Pruned(module, tuple(sorted(kept.items()))) if kept else module
