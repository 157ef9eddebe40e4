"""What models take: values of fields, sizes of pictures. Each check raises UserError with one line."""

from collections.abc import Collection
from typing import Any

from jax import Array

from jaxcls.errors import UserError


def check_choice(field: str, value: Any, options: Collection[str]) -> None:
    """UserError for a value that is none of the options."""
    if value not in options:
        raise UserError(f"{field} must be one of {', '.join(options)}, not {value!r}")


def check_positive(field: str, value: float) -> None:
    """UserError for a number that is not above 0."""
    if not value > 0:
        raise UserError(f"{field} must be positive, not {value!r}")


def check_size(images: Array, least: int, model: str) -> None:
    """UserError for pictures `[b, h, w, c]` with less than `least` pixels a side, of which the pools leave nothing."""
    height, width = images.shape[1:3]
    if min(height, width) < least:
        raise UserError(f"{model} takes pictures of {least}x{least} or larger, not {height}x{width}: resize them")


def check_clips(clips: Array, model: str) -> None:
    """UserError for what is no batch of clips `[n, t, h, w, c]`: a convolution would take pictures for one clip."""
    if clips.ndim != 5:
        raise UserError(f"{model} takes clips [n, frames, height, width, channels], not an array of {clips.ndim} axes")
