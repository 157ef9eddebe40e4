"""How much memory the frames of one clip may take."""

from jaxcls.errors import UserError

MEMORY = 2**31  # bytes of decoded frames


def check_memory(frames: int, height: int, width: int, channels: int, name: str) -> None:
    """Raises UserError where so many decoded frames would take more than MEMORY."""
    if (need := frames * height * width * channels) > MEMORY:
        raise UserError(
            f"{name or 'clip'}: {frames} frames of {width} x {height} pixels take {need / 2**30:.0f} GiB, more than "
            f"{MEMORY / 2**30:.0f}; take fewer frames, or make the video smaller"
        )
