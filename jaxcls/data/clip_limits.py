"""How much memory and work the frames of one clip may take."""

from jaxcls.data import bounds
from jaxcls.errors import UserError

MEMORY = 2**31  # bytes of decoded frames


def check_memory(frames: int, height: int, width: int, channels: int, name: str) -> None:
    """Raises UserError where so many decoded frames would take more than MEMORY."""
    if (need := frames * height * width * channels) > MEMORY:
        raise UserError(
            f"{name or 'clip'}: {frames} frames of {width} x {height} pixels take {need / 2**30:.0f} GiB, more than "
            f"{MEMORY / 2**30:.0f}; take fewer frames, or make the video smaller"
        )


def check_work(frames: int, height: int, width: int, length: int, name: str) -> None:
    """Raises UserError where so many frames, all of which are decoded one after the other, are too much work for a file
    of `length` bytes: a small one can hold thousands that hardly differ."""
    if frames * height * width > max(bounds.MAX_PASSES, bounds.FOR_EACH_BYTE * length):
        raise UserError(
            f"{name or 'clip'}: {frames:,} frames of {width} x {height} pixels in {length:,} bytes would take too long "
            "to decode; save it as a video, or make it smaller"
        )
