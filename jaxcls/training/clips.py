"""Clips: what of a config must agree where pictures are clips, or the net takes them."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxcls import augment
from jaxcls.data import base
from jaxcls.data.base import Source
from jaxcls.errors import UserError
from jaxcls.tasks import tta


def check(config: Any, sources: Mapping[str, Source], *, trains: bool) -> None:
    """The lists of a config and its pictures are both of clips, or both not.

    Args:
      config: a Reader.
      sources: of all splits.
      trains: whether config.data.augment is read.

    Raises:
      UserError: where they are not, in a line that names what to change.
    """
    name = config.data.name
    lists = {"eval_transform": tuple(config.data.eval_transform)}
    if trains:
        lists["augment"] = tuple(config.data.augment)
    for source in sources.values():
        moving, files = base.clips(source), not hasattr(source, "arrays")
        for key, specs in lists.items():
            _check_list(f"config.data.{key}", name, specs, moving, moving and files)


def _check_list(what, name, specs, moving, needed):
    length, _ = augment.clip_length(specs, what)
    usual = "random_frames(16)" if what.endswith("augment") else "frames(16)"
    if needed and not length:
        raise UserError(
            f"{what}: {name} has clips, so the list begins with {usual!r}: which of their frames are taken."
        )
    if length and not moving:
        raise UserError(
            f"{what} takes frames of clips, and {name} has still pictures; remove its first entry, or give clips "
            "(clips/FOLDER)."
        )


def check_views(specs: Sequence[str], views: Sequence[str]) -> None:
    """As many clips of a video as config.data.eval_transform takes are what config.eval.tta averages. Raises
    UserError."""
    _, taken = augment.clip_length(specs, "config.data.eval_transform")
    averaged = tta.clips_of(views)
    if max(1, taken) == averaged or (not taken and averaged > 1):  # of clips in memory, which are cut as they are
        return
    remedy = f"set config.eval.tta=('clips({taken})',)" if taken > 1 else f"write frames(LENGTH, clips={averaged})"
    raise UserError(
        f"config.data.eval_transform takes {taken} clip(s) of each video, and config.eval.tta averages {averaged}; "
        f"{remedy}."
    )


def check_model(name: str, module: Any, moving: bool) -> None:
    """A net of clips gets clips, another one pictures (`moving`: which they are). Raises UserError."""
    takes = bool(getattr(module, "clips", False))
    if takes and not moving:
        raise UserError(
            f"config.model.name={name} takes clips, and the pictures are still; give clips (config.data.name="
            "clips/FOLDER), or choose a net of pictures."
        )
    if moving and not takes:
        raise UserError(
            f"config.model.name={name} takes single pictures, and these are clips; choose a net of clips, such as "
            "r3d_18, or set config.model.neck=frames (the mean over frames)."
        )
