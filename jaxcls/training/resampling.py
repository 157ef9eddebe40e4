"""Which of two resizers draws a run's random crops (augment.host, resample='auto'): told, stored, and compared."""

import importlib.metadata
from collections.abc import Iterator

from jaxcls.augment import simd
from jaxcls.checkpoints import view
from jaxcls.errors import UserError
from jaxcls.training.data import Data
from jaxcls.types import PathLike

KEY = "resample"  # in checkpoints.meta.Meta.data
_EITHER = {"bilinear": "Pillow", simd.NAME: simd.PACKAGE}


def used(data: Data) -> str | None:
    """The `resample` of random crops, "auto" resolved; None where none are drawn on the host."""
    return None if data.augmentation is None else data.augmentation.host.resample


def lines(data: Data, workdir: PathLike) -> Iterator[str]:
    """Lines about the resizer, and about another one than the newest checkpoint in a workdir was trained with."""
    now = used(data)
    if now == simd.NAME:
        yield f"random crops: resized by {simd.PACKAGE} {importlib.metadata.version(simd.PACKAGE)}, Pillow's to a level"
    try:
        before = view.read_meta(view.find_step(workdir)).data.get(KEY, "bilinear")
    except UserError:  # there is none, or none that can be read, of which restoring tells
        return
    if now is not None and {before, now} == {*_EITHER}:
        yield (
            f"note: random crops were resized by {_EITHER[before]} until now and are by {_EITHER[now]} from here on: a "
            "level off, so the run does not end with the same bits"
        )
