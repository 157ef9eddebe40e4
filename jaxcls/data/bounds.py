"""How much a picture may cost before anything of its size is allocated: pixels, memory, passes over its data.

A small file can't take large memory or time: decoding may need MEMORY, or FOR_EACH_BYTE of the file where that is more
(a large picture comes in a large file); the passes of a JPEG times its pixels are bound in the same way.
"""

from jaxcls.errors import UserError

MAX_PIXELS = 178_956_970  # where Pillow itself refuses, twice 1/4 GiB of RGB: a bomb or a mistake
MEMORY = 300 * 2**20  # bytes: what is left of 500 MiB is for what is made of the picture
FOR_EACH_BYTE = 64
# Pixels x scans: libjpeg needs 0.3 to 2.5 ns for each where a scan has next to nothing in it. Files have 3 to 12 scans.
MAX_PASSES = 8 * 10**8
MAX_RESIZED = MAX_PIXELS // 8  # pixels that may be made of a picture: at 3 to 8 bytes each within MEMORY


def check_size(height: int, width: int, max_pixels: int, name: str) -> None:
    """Raises UserError for a picture of more than `max_pixels` pixels."""
    if height * width > max_pixels:
        raise UserError(
            f"{name or 'picture'}: {width} x {height} = {width * height:,} pixels, more than {max_pixels:,}; "
            "resize it or move it away"
        )


def check_memory(height: int, width: int, each: float, length: int, name: str, *, more: int = 0) -> None:
    """Raises UserError for a picture of which a file of `length` bytes is too little for the memory that it takes.

    Args:
      height, width: of the picture.
      each: bytes that decoding needs at its peak for a pixel.
      length: bytes of the file.
      name: what messages call the picture.
      more: bytes beside those.
    """
    need, room = height * width * each + more, max(MEMORY, FOR_EACH_BYTE * length)
    if need > room:
        raise UserError(
            f"{name or 'picture'}: {width} x {height} pixels in {length:,} bytes would take {need / 2**20:,.0f} MiB to "
            f"decode, more than {room // 2**20:,}; resize it or move it away"
        )


def check_scans(scans: int, height: int, width: int, length: int, name: str) -> None:
    """Raises UserError for a JPEG whose scans (passes over all pixels) would take seconds."""
    if scans * height * width > max(MAX_PASSES, FOR_EACH_BYTE * length):
        raise UserError(
            f"{name or 'picture'}: {scans} scans of {width} x {height} pixels in {length:,} bytes would take too long "
            "to decode; save it as a baseline JPEG or move it away"
        )


def check_resized(height: int, width: int, target: tuple[int, int], name: str = "") -> None:
    """Raises UserError where a picture of height x width would be resized to more than MAX_RESIZED pixels."""
    if target[0] * target[1] > MAX_RESIZED:
        raise UserError(
            f"{name or 'picture'}: {width} x {height} pixels would be resized to {target[1]} x {target[0]}, more than "
            f"{MAX_RESIZED:,} pixels; let a center_crop follow the resize, resize to a height and a width, or move it "
            "away"
        )
