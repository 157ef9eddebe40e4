"""Videos through PyAV, which is imported here alone: exact frames by their number."""

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxcls.data import bounds, clip_limits, samples
from jaxcls.errors import UserError


def opened(encoded: bytes, channels: int, name: str) -> tuple[int, Callable[[np.ndarray], Mapping[int, np.ndarray]]]:
    """(number of frames, ascending numbers -> {number: uint8 [h, w, c]}) of the first video stream of a file.

    Packets are listed without being decoded. The frames that are asked for are found by their times, from the last key
    frame before the first of them on; so a number means the same frame, wherever reading began.

    Raises:
      UserError: for a file without a video, or one that can't be decoded.
    """
    import av

    with _told(name, av):
        times, (height, width) = _times(av, encoded, name)
    if len(times) < 2:
        raise UserError(f"{name or 'video'}: it has {len(times)} frame(s), and the model takes clips")
    bounds.check_size(height, width, bounds.MAX_PIXELS, name)

    def read(rows):
        clip_limits.check_memory(len(rows), height, width, channels, name)
        wanted = {times[row]: row for row in rows.tolist()}
        with _told(name, av):
            found = _frames(av, encoded, wanted, channels, seek=True)
            if len(found) < len(wanted):  # its key frames are none: frames before them are needed
                found = _frames(av, encoded, wanted, channels, seek=False)
        if len(found) < len(wanted):
            lost = min(set(wanted.values()) - found.keys())
            text = (
                f"{name or 'video'}: frame {lost + 1} of {len(times)} can't be decoded; replace it, or encode it again"
            )
            raise UserError(text)
        return found

    return len(times), read


class _told:
    """Turns PyAV's errors into a line."""

    def __init__(self, name: str, av: Any):
        self.name, self.errors = name or "video", (av.error.FFmpegError, ValueError, EOFError)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        if isinstance(error, self.errors) and not isinstance(error, UserError):
            reason = " ".join(str(error).split())[:120]
            raise UserError(
                f"{self.name}: a video that can't be decoded ({reason}); replace it, or encode it again"
            ) from (error)


def _times(av, encoded, name):
    """(the time of every frame, ascending; (height, width)) of a file's first video stream."""
    with av.open(io.BytesIO(encoded)) as container:
        if not container.streams.video:
            raise UserError(f"{name or 'video'}: there is no video in this file")
        stream = container.streams.video[0]
        times = {p.pts for p in container.demux(stream) if p.pts is not None and not getattr(p, "is_discard", False)}
        return sorted(times), (stream.codec_context.height, stream.codec_context.width)


def _frames(av, encoded, wanted, channels, *, seek):
    """Number -> frame of the times in `wanted`, as far as they are met."""
    found, last = {}, max(wanted)
    with av.open(io.BytesIO(encoded)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"  # each reader is a thread already
        if seek:
            container.seek(min(wanted), stream=stream, backward=True)
        for frame in container.decode(stream):
            if frame.pts in wanted:
                image = np.rot90(frame.to_ndarray(format="rgb24"), getattr(frame, "rotation", 0) // 90)  # of phones
                found[wanted[frame.pts]] = samples.grey(image) if channels == 1 else image
            if frame.pts is not None and frame.pts >= last:
                break
    return found
