"""Pictures of a request -> answers, each picture for itself: one that fails leaves the others alone."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import io
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from starlette.requests import Request

from jaxcls.data import clip_files, decode
from jaxcls.errors import UserError
from jaxcls.serve import logs
from jaxcls.serve.batching import Full, Late
from jaxcls.serve.bodies import Gone
from jaxcls.serve.limits import Refused
from jaxcls.serve.metrics import Metrics
from jaxcls.serve.registry import Lease, NotReady, Registry, Unknown
from jaxcls.serve.settings import Settings

T = TypeVar("T")
_PATH = re.compile(r"(?<![\w.:/<])/(?:[^\s/'\"]+/)+[^\s'\",;:)]*")


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is asked about pictures.

    Attributes:
      model: its name; "" for the first one. version: that it must be of; "" for any.
      top: classes that are listed; 0 for all of them.
      heatmap: whether a heat map of the answered class, of a set of each of its labels, is drawn for each picture.
    """

    model: str = ""
    version: str = ""
    top: int = 5
    heatmap: bool = False


@dataclasses.dataclass
class Answered:
    """Answers to the pictures of a request, all of one version.

    Attributes:
      model, version, step: of what has answered; step is None where it is not known.
      classes: of the model, in its order.
      rows: one a picture, as `jaxcls predict` has them; {"error": line} for one that has no answer.
      status: 200 where any picture has an answer; else why not: 422 broken, 413 too many pixels, 504 too late, 500 a
        fault of the model.
    """

    model: str
    version: str
    step: int | None
    classes: Sequence[str]
    rows: list[dict[str, Any]]
    status: int


class _TooLarge(UserError):
    """A picture of too many pixels."""


async def ask(
    registry: Registry, settings: Settings, metrics: Metrics, pictures: Sequence[Any], asked: Asked
) -> Answered:
    """Answers to pictures: bytes of files, lines that say why there is none, or prepared ones.

    Raises:
      Refused: 404 for a model or version that is not there, 422 for heat maps that it has not, 503 where the model is
        not warm yet, or busy.
    """
    deadline = time.monotonic() + settings.timeout
    try:
        with registry.lease(asked.model, pictures=len(pictures)) as lease:
            metrics.queue(len(pictures))
            try:
                return await _answered(lease, settings, metrics, pictures, asked, deadline)
            finally:
                metrics.queue(-len(pictures))
    except Unknown as error:
        raise Refused(404, line(error)) from error
    except NotReady as error:
        raise Refused(503, "the model is warming up; try again", Retry_After="2") from error
    except Full as error:
        raise Refused(503, "too many pictures are waiting; try again", Retry_After=str(error.retry_after)) from error


async def _answered(lease, settings, metrics, pictures, asked, deadline):
    served = lease.served
    if asked.version and asked.version != served.version:
        raise Refused(404, f"{served.name} has no such version here; it is {served.version}")
    if asked.heatmap and served.explains is None:
        raise Refused(422, line(served.unexplained))
    top = asked.top or len(served.predictor.classes)
    many, one = len(pictures) > 1, _one(lease, settings, asked.heatmap, top, deadline)
    rows = await asyncio.gather(*(one(p, f"picture {i}" if many else "picture") for i, p in enumerate(pictures, 1)))
    failed = [row.pop("status") for row in rows if "error" in row]
    metrics.pictures(served.name, len(rows) - len(failed), len(failed))
    status = max(failed) if len(failed) == len(rows) else 200
    return Answered(served.name, served.version, served.step, served.predictor.classes, rows, status)


def _one(lease: Lease, settings: Settings, heatmap: bool, top: int, deadline: float) -> Callable[..., Awaitable[dict]]:
    """The function of one picture and its name that gives its row; with `status` where that is an error."""

    async def one(picture: Any, name: str) -> dict[str, Any]:
        try:
            row = await answer(picture, name)
            return row if "error" not in row else {"error": f"{name}: {line(row['error'])}", "status": 500}
        except UserError as error:
            return {"error": line(error), "status": 413 if isinstance(error, _TooLarge) else 422}
        except Late:
            return {"error": f"{name}: there was no answer in {settings.timeout:g} s (--timeout)", "status": 504}
        except Exception as error:  # of the model, for a good picture: nothing that its sender can mend
            logs.bug(error, model=lease.served.name)
            return {"error": f"{name}: the model failed on it", "status": 500}

    async def answer(picture, name):
        if isinstance(picture, str):
            raise UserError(f"{name}: {picture}")
        if isinstance(picture, bytes):
            if not heatmap:
                return await lease.answer(picture, name, top, deadline, check)
            picture = await lease.prepare(picture, name, deadline, check)
        row = await lease.submit(picture, top, deadline)
        if heatmap and "error" not in row:
            row = {**row, "heatmap": await _heatmaps(lease, picture, row, deadline)}
        return row

    def check(encoded, name):
        """Before anything of its size is allocated: its header tells the size."""
        size = clip_files.size if lease.served.predictor.clips else decode.size
        height, width = size(encoded, name=name)
        if height * width > settings.max_pixels:
            pixels = f"{width} x {height} pixels are more than {settings.max_pixels:,} (--max-pixels)"
            raise _TooLarge(f"{name}: {pixels}; resize it")

    return one


async def _heatmaps(lease, picture, row, deadline):
    """That of the class of a row, or a list of those of its labels."""
    if "labels" not in row:
        return await _heatmap(lease, picture, row["class"], deadline)
    return [await _heatmap(lease, picture, name, deadline) for name in row["labels"]]


async def _heatmap(lease, picture, name, deadline):
    """A PNG as a data URL."""
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            drawn = await lease.heatmap(picture, name)
    except TimeoutError as error:
        raise Late from error
    return await asyncio.to_thread(_png, drawn)


def _png(pixels):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def line(error: object) -> str:
    """A message for whoever asks: in one line, and without what looks like a path of this machine."""
    return _PATH.sub("...", " ".join(str(error).split()))[:400]


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """What `work` gives; it is cancelled where the client leaves, whose body has been read. Raises Gone."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Gone
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
