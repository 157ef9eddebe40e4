"""Clips of files: animated GIF, WebP and PNG, arrays of NumPy, videos, and folders with a picture for each frame.

`opened` looks at what was given and says how many frames it has; frames are decoded when they are asked for. Videos go
through PyAV (`pip install 'jaxcls[video]'`), all else through what pictures go through.
"""

import dataclasses
import importlib.util
import io
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxcls.data import bounds, clip_limits, decode, deep, formats, kinds
from jaxcls.data.samples import conversion
from jaxcls.errors import UserError, of_picture
from jaxcls.text import printable

VIDEOS = frozenset([".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"])
ALONE = frozenset([".gif", ".apng", ".npy", ".npz"]) | VIDEOS  # a clip by itself
EITHER = {".png": b"acTL", ".webp": b"ANIM"}  # so is one of these that has this chunk, else it is a frame
HEAD = 4096  # bytes in which that chunk stands
ANIMATED = {"GIF": "GIF", "WebP": "WebP", "PNG": "PNG (APNG)"}
WANTED = "clips are animated GIF, WebP or PNG, .npy or .npz [t, h, w, c], videos, and folders of frames"
NO_PYAV = "videos need PyAV: pip install 'jaxcls[video]'"
Frame = bytes | np.ndarray  # encoded, or uint8 [h, w, c]


class FrameFiles(NamedTuple):
    """A clip whose frames are pictures in files, in this order."""

    paths: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Clip:
    """A clip of which no more was read than its number of frames takes.

    Attributes:
      count: its frames.
      read: ascending numbers of frames -> {number: the frame, encoded or uint8 [h, w, c]}.
    """

    count: int
    read: Callable[[np.ndarray], Mapping[int, Frame]]


def opened(image: Any, channels: int, name: str) -> Clip:
    """A clip of the bytes of a file, of pixels uint8 [t, h, w, c] or [t, h, w], or of FrameFiles.

    Args:
      image: one of these.
      channels: of the frames that are decoded here, 1 or 3; pixels must have them.
      name: for messages.

    Raises:
      UserError: for a still picture, what is no clip, or one that is damaged or too large.
    """
    try:
        if isinstance(image, FrameFiles):
            return _of_files(image.paths, name)
        if isinstance(image, np.ndarray):
            return _of_pixels(image, channels, name)
        return _of_bytes(bytes(image), channels, name)
    except Exception as error:
        raise of_picture(error, name) from error


def suffixes() -> frozenset[str]:
    """Of files that are clips or frames."""
    return kinds.suffixes() | ALONE


def divided(folder: str, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """(clips by themselves, frames of one clip) of the files of a folder. PNG and WebP are what the first of the folder
    is: of each kind one file is looked at."""
    alone: list[str] = []
    frames: list[str] = []
    moving: dict[str, bool] = {}
    for name in names:
        suffix = os.path.splitext(name)[1].lower()
        if suffix in EITHER and suffix not in moving:
            moving[suffix] = _has(os.path.join(folder, name), EITHER[suffix])
        (alone if suffix in ALONE or moving.get(suffix) else frames).append(name)
    return alone, frames


def _has(path, chunk):
    try:
        with open(path, "rb", buffering=0) as file:
            return chunk in file.read(HEAD)
    except OSError:  # reading it says so
        return False


def of_folder(path: str, names: Sequence[str]) -> FrameFiles:
    """The frames of a folder, of these names, which are put into natural order (2 before 10)."""
    from jaxcls.data import layout

    return FrameFiles(tuple(os.path.join(path, name) for name in sorted(names, key=layout.natural)))


def size(image: Any, *, name: str = "") -> tuple[int, int]:
    """(height, width) of the first frame. Raises UserError as `opened` and its frames."""
    frame = opened(image, 3, name).read(np.zeros(1, int))[0]
    return decode.upright_size(frame) if isinstance(frame, bytes) else (frame.shape[0], frame.shape[1])


def _of_bytes(encoded: bytes, channels: int, name: str) -> Clip:
    kind = kinds.of(encoded[:512])
    if kind in ANIMATED:
        return _of_pillow(encoded, kind, channels, name)
    if kind == "NumPy":
        return _of_pixels(_array(encoded, name), channels, name)
    if kind == "ZIP archive":
        return _of_pixels(_array(_member(encoded, name), name), channels, name)
    if kind == "video":
        if importlib.util.find_spec("av") is None:
            raise UserError(f"{name or 'clip'}: {NO_PYAV}")
        from jaxcls.data import clip_video

        return Clip(*clip_video.opened(encoded, channels, name))
    if kind in kinds.readable():
        raise UserError(f"{name or 'clip'}: a still picture ({kind}), and the model takes clips; {WANTED}")
    raise UserError(f"{name or 'clip'}: not a clip{f', but {kind}' if kind else ''}; {WANTED}")


def _of_files(paths: Sequence[str], name: str) -> Clip:
    if len(paths) < 2:
        raise UserError(f"{name or 'clip'}: a folder of {len(paths)} frame(s), and a clip has two or more; add frames")

    def read(rows):
        found, sizes = {}, set()
        for row in rows.tolist():
            try:
                with open(paths[row], "rb", buffering=0) as file:
                    found[row] = file.read()
            except OSError as error:
                raise UserError(f"{printable(paths[row])}: cannot be read ({error.strerror or error})") from error
            sizes.add(decode.upright_size(found[row], name=printable(os.path.basename(paths[row]))))
        if len(sizes) > 1:
            first, second = (f"{width} x {height}" for height, width in sorted(sizes)[:2])
            raise UserError(f"{name or 'clip'}: its frames differ in size ({first}, {second}); make them alike")
        return found

    return Clip(len(paths), read)


def _of_pixels(pixels: np.ndarray, channels: int, name: str) -> Clip:
    if pixels.ndim == 3 and channels == 1:
        pixels = pixels[..., None]
    if pixels.ndim != 4 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise UserError(f"{name or 'clip'}: {pixels.dtype} {pixels.shape} is no clip; it is uint8 [t, h, w, c]")
    if pixels.shape[-1] != channels:
        raise deep.unfit(pixels.shape[-1], channels, name)
    _check_frames(len(pixels), name)
    return Clip(len(pixels), lambda rows: {row: pixels[row] for row in rows.tolist()})


def _check_frames(count: int, name: str) -> None:
    if count < 2:
        raise UserError(f"{name or 'clip'}: it has one frame, so it is a still picture, and the model takes clips")


def _of_pillow(encoded: bytes, kind: str, channels: int, name: str) -> Clip:
    opened = formats.open_(encoded, name)
    formats.check(opened, len(encoded), bounds.MAX_PIXELS, name)
    width, height = opened.picture.size
    count = getattr(_picture(encoded, kind), "n_frames", 1)
    if count < 2:
        raise UserError(
            f"{name or 'clip'}: a {ANIMATED[kind]} of one frame is a still picture, and the model takes clips"
        )

    def read(rows):
        clip_limits.check_memory(len(rows), height, width, channels, name)
        clip_limits.check_work(int(rows[-1]) + 1, height, width, len(encoded), name)
        picture, found = _picture(encoded, kind), {}
        for row in rows.tolist():
            try:
                picture.seek(row)
                found[row] = conversion(kind, picture, channels)(picture).reshape(height, width, channels)
            except Exception as error:  # Pillow's readers raise nearly any kind for bytes that make no sense
                reason = " ".join(str(error).split())[:120] or type(error).__name__
                text = f"{name or 'clip'}: frame {row + 1} of {count} is damaged ({reason}); replace it"
                raise UserError(text) from error
        return found

    return Clip(count, read)


def _picture(encoded: bytes, kind: str) -> Any:
    """Pillow's, whose header was looked at before."""
    return formats.reader(kind)(io.BytesIO(encoded))


def _array(encoded: bytes, name: str) -> np.ndarray:
    """The array of a NumPy file; nothing is unpickled."""
    try:
        return np.lib.format.read_array(io.BytesIO(encoded), allow_pickle=False, max_header_size=10_000)
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{name or 'clip'}: damaged NumPy file ({reason}); save it again") from error


def _member(encoded: bytes, name: str) -> bytes:
    """The NumPy file of an .npz, which has one array."""
    try:
        with zipfile.ZipFile(io.BytesIO(encoded)) as archive:
            names = [item for item in archive.infolist() if item.filename.endswith(".npy")]
            if len(names) != 1:
                raise UserError(f"{name or 'clip'}: an archive of {len(names)} arrays, and a clip is one [t, h, w, c]")
            if names[0].file_size > clip_limits.MEMORY:
                raise UserError(f"{name or 'clip'}: an array of {names[0].file_size:,} bytes; make the clip smaller")
            return archive.read(names[0])
    except UserError:
        raise
    except Exception as error:  # zipfile, zlib: whatever damage leads to
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{name or 'clip'}: damaged archive ({reason}); save it again") from error
