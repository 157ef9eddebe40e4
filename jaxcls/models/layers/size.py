"""What sizes of pictures a model takes."""

from jaxcls.errors import UserError


def check_size(images, least: int, model: str) -> None:
    """UserError for pictures `[b, h, w, c]` with less than `least` pixels a side, of which the pools leave nothing."""
    height, width = images.shape[1:3]
    if min(height, width) < least:
        raise UserError(f"{model} takes pictures of {least}x{least} or larger, not {height}x{width}: resize them")
