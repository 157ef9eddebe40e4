"""Clips: which frames of a video are taken, and what the host does with them.

A clip is uint8 [t, h, w, c]. The list of a run on clips begins with `random_frames(16, stride=2)` in training and with
`frames(16, stride=2)` in evaluation; whatever follows does the same to all frames of a clip. Both work on the host for
files, with the decoder, and on the device for clips in memory (`device_clips`), by the formulas here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcls.augment.boxes import check_size
from jaxcls.errors import UserError

SHORT = ("loop", "refuse")


class Frames:
    """The frames `start + stride * i`, of evaluation: one clip from the middle, or several, evenly from start to end.

    A video that is shorter than the `span` of a clip begins again behind its last frame.

    Args:
      length: frames of a clip.
      stride: 1: frames next to each other; 2: every second one.
      clips: of each video, one behind the other in the result; `config.eval.tta=("clips(5)",)` averages their answers.
      short: "loop", or "refuse" for an error in place of beginning again.
    """

    entry = "frames"  # its name in a list

    def __init__(self, length: int, stride: int = 1, clips: int = 1, short: str = "loop"):
        self.length, self.stride, self.clips = check_size(length), check_size(stride), check_size(clips)
        if short not in SHORT:
            raise ValueError(f"short can be 'loop' or 'refuse', not {short!r}")
        self.short = short

    @property
    def span(self) -> int:
        """Frames from the first to the last of a clip."""
        return (self.length - 1) * self.stride + 1

    @property
    def total(self) -> int:
        """Frames of the result."""
        return self.length * self.clips

    def starts(self, count: int, random: np.random.Generator | None) -> np.ndarray:
        """The first frame of each clip of a video of `count` frames, int [clips]."""
        del random
        return evenly(max(0, count - self.span), self.clips)

    def plan(self, count: int, random: np.random.Generator | None, name: str = "") -> np.ndarray:
        """The numbers of the frames of a video of `count` frames, int [total]. Raises UserError as `check`."""
        self.check(count, name)
        starts = self.starts(count, random)
        return ((starts[:, None] + self.stride * np.arange(self.length)) % count).reshape(-1)

    def check(self, count: int, name: str = "") -> None:
        """Raises UserError for a video that is too short where that is refused."""
        if count < self.span and self.short == "refuse":
            raise UserError(
                f"{name or 'clip'}: {count} frames, and {self.length} at stride {self.stride} span {self.span}; take "
                "less, or let it begin again with short='loop'"
            )


class RandomFrames(Frames):
    """As `Frames`, of training: one clip that begins at any frame where it fits.

    The start is `floor(u * room)` with u from [0, 1) and as many starts as there is room for.
    """

    entry = "random_frames"

    def __init__(self, length: int, stride: int = 1, short: str = "loop"):
        super().__init__(length, stride, short=short)

    def starts(self, count: int, random: np.random.Generator | None) -> np.ndarray:
        if random is None:
            raise UserError("config.data.eval_transform: 'random_frames' is random and can't be used in evaluation.")
        return np.array([int(random.random() * max(1, count - self.span + 1))])


def evenly(last: int, clips: int) -> np.ndarray:
    """Starts of clips, evenly from 0 to `last`; of a single one the middle."""
    if clips == 1:
        return np.array([last // 2])
    return np.rint(np.arange(clips) * last / (clips - 1)).astype(int)


class ClipTransform:
    """What the host does with a clip: decodes its frames, and does to each what a HostTransform does, drawn once.

    Can be pickled, for worker processes.

    Args:
      frames: which ones.
      each: the HostTransform of a frame.
    """

    def __init__(self, frames: Frames, each: Any):
        self.frames, self.each = frames, each

    @property
    def operations(self) -> list[Any]:
        """All of the list, in order."""
        return [self.frames, *self.each.operations]

    @property
    def resample(self) -> str | None:
        """As of the HostTransform."""
        return self.each.resample

    def __call__(self, image: Any, name: str, random: np.random.Generator | None) -> np.ndarray:
        """image: what `data.clip_files.opened` takes; name, random: as of HostTransform. Returns uint8 [t, h, w, c].

        Raises:
          UserError: for what is no clip, one that is damaged, or whose frames differ in size.
        """
        from jaxcls.data import clip_files

        clip = clip_files.opened(image, self.each.channels, name)
        rows = self.frames.plan(clip.count, random, name)
        state: Any = None if random is None else random.bit_generator.state
        made = {}
        for row, frame in clip.read(np.unique(rows)).items():
            if random is not None:
                random.bit_generator.state = state  # every frame is changed by the same numbers
            made[row] = self.each(frame, name, random)
        if len({frame.shape for frame in made.values()}) > 1:
            raise UserError(f"{name}: its frames differ in size; make them alike, or let 'resize(128, 128)' do that.")
        return np.stack([made[int(row)] for row in rows])

    def views(self, image: Any, name: str, randoms: Sequence[np.random.Generator]) -> np.ndarray:
        """uint8 [k, t, h, w, c]: one clip for each of k generators."""
        return np.stack([self(image, name, random) for random in randoms])


HOST = {"frames": Frames, "random_frames": RandomFrames}
