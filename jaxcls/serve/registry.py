"""The models of a service: by name, warmed up, and exchanged for newer ones without a lost request."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jaxcls.errors import UserError, did_you_mean
from jaxcls.runtime.foreign import Given
from jaxcls.serve import artefacts, choosing
from jaxcls.serve.artefacts import Served, Stamp
from jaxcls.serve.versions import Lease, Live, NotReady, Observe, Reloaded, Unknown
from jaxcls.types import Note

QUEUE = 128  # pictures that may be read, waiting or computed for one model
POLL = 10.0  # seconds between two looks for something newer


@dataclasses.dataclass
class _Model:
    """A name: what was opened at the start, the version that answers now, those that are still held, and what polling
    has seen last: a stamp that it need not look at again, a line that it need not tell again."""

    opened: Served
    live: Live | None = None
    old: list[Live] = dataclasses.field(default_factory=list)
    seen: Stamp = ()
    told: str = ""
    taken_up: int = 0
    refused: int = 0


class Registry:
    """Models by name.

        registry = Registry.open(["runs/digits", "pets=pets.onnx"])     # UserError before anything listens
        await registry.start()                                          # warms up behind it
        await registry.settled.wait()                                   # all are warm, or there is a `problem`
        with registry.lease("digits", pictures=2) as lease:             # Unknown, NotReady, Full
            rows = await asyncio.gather(*(lease.answer(data, name, top=3, deadline=...) for data, name in found))
            lease.served.version                                        # of all rows
        await registry.stop()                                           # waits for the workers

    All but `open` is called on one event loop.

    Attributes:
      settled: set when every model is warm, or one can't be warmed up.
      problem: the line of that one, after which no other is warmed up; "".
    """

    def __init__(
        self,
        models: Sequence[Served],
        *,
        share: int = 1,
        queue: int = QUEUE,
        poll: float = POLL,
        note: Note = print,
        observe: Observe = lambda name, size, seconds: None,
        reloaded: Reloaded = lambda name, problem: None,
    ):
        """Arguments as of `open`. Raises UserError for two of one name."""
        self.problem, self.settled, self._reloaded = "", asyncio.Event(), reloaded
        self._share, self._queue, self._poll, self._note, self._observe = share, queue, poll, note, observe
        _distinct([(served.name, served.path) for served in models])
        self._models = {served.name: _Model(served, seen=served.stamp) for served in models}
        self._readers = ThreadPoolExecutor(choosing.cores(share), "reader")
        self._painter = ThreadPoolExecutor(1, "painter")
        self._task: asyncio.Task | None = None

    @classmethod
    def open(cls, paths: Sequence[str], *, device: str = "", foreign: Given | None = None, **settings: Any) -> Registry:
        """Opens all models; nothing is computed yet.

        Args:
          paths: of runs and ONNX files, each with "NAME=" before it or named by its last part.
          device, foreign: as of artefacts.open_model.
          settings: share: processes that share the cores of this machine (1). queue: pictures that may be read, waiting
            or computed for one model. poll: seconds between two looks for a newer best checkpoint or a replaced file; 0
            for none. note: where lines go: what was chosen, what was taken up, what was refused. observe: told of each
            batch from a worker's thread: name, size, seconds. reloaded: told of each newer version: name, and the line
            that says why it was refused, or "".

        Raises:
          UserError: for one that can't be opened, two of one name, or `foreign` where no file needs it.
        """
        given = [artefacts.named(path) for path in paths]
        _distinct(given)
        threads = choosing.cores(settings.get("share", 1))
        models = [artefacts.open_model(path, name, device, threads, foreign) for name, path in given]
        if foreign and not any(served.is_foreign for served in models):
            which = f"{models[0].path} says itself" if len(models) == 1 else "there is none"
            raise UserError(f"{foreign.options()[0]} is for files that jaxcls did not write; {which}: leave it out.")
        return cls(models, **settings)

    @property
    def ready(self) -> bool:
        """Whether every model is warm."""
        return all(model.live for model in self._models.values())

    def names(self) -> tuple[str, ...]:
        """In the order they were given; the first one is the default."""
        return tuple(self._models)

    def get(self, name: str = "") -> Served:
        """The version that new requests get; "" for the first model. Raises Unknown."""
        model = self._find(name)
        return model.live.served if model.live else model.opened

    @contextlib.contextmanager
    def lease(self, name: str = "", pictures: int = 1) -> Iterator[Lease]:
        """The version that new requests get, with places for this many pictures, until the block ends.

        Raises:
          Unknown, NotReady: the model.
          Full: where there are not as many places; batching.Full has `retry_after`.
        """
        live = self._find(name).live
        if live is None:
            raise NotReady(f"{name or self.names()[0]} is not warm yet")
        with live.held(pictures):
            yield Lease(live, self._readers, self._painter)

    def load(self) -> dict[str, dict[str, int]]:
        """For metrics, by name: held and waiting (pictures, as of Batcher, of all versions), bound (of the newest),
        workers, taken_up and refused (newer versions so far)."""
        found = {}
        for name, model in self._models.items():
            batchers = [live.batcher for live in (model.live, *model.old) if live]
            found[name] = {
                "held": sum(batcher.held for batcher in batchers),
                "waiting": sum(batcher.waiting for batcher in batchers),
                "bound": self._queue,
                "workers": model.live.plan.workers if model.live else 0,
                "taken_up": model.taken_up,
                "refused": model.refused,
            }
        return found

    def describe(self) -> list[dict[str, Any]]:
        """Of each model Served.describe with `ready` and `plan` (a line for people: workers, threads, batches)."""
        return [
            {
                **self.get(name).describe(),
                "ready": model.live is not None,
                "plan": model.live.plan.line if model.live else "",
            }
            for name, model in self._models.items()
        ]

    async def start(self) -> None:
        """Starts to warm up and to poll; does not wait for it."""
        self._task = asyncio.create_task(self._run())

    async def stop(self, seconds: float = 10.0) -> None:
        """Ends polling, answers what is queued, ends the workers; waits at most this long."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        batchers = [live.batcher for m in self._models.values() for live in (m.live, *m.old) if live]
        for batcher in batchers:
            batcher.close()
        end = time.monotonic() + seconds
        for batcher in batchers:
            await asyncio.to_thread(batcher.join, end - time.monotonic())
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._painter.shutdown(wait=False, cancel_futures=True)

    def _find(self, name):
        model = self._models.get(name or self.names()[0])
        if model is None:
            raise Unknown(f"there is no model {name!r}{did_you_mean(name, self._models)}")
        return model

    async def _run(self):
        for name, model in self._models.items():
            await self._warm(name, model)
            if self.problem:
                break
        self.settled.set()
        while self._poll > 0:
            await asyncio.sleep(self._poll)
            for model in self._models.values():
                if model.live:
                    await self._look(model, model.live)

    async def _warm(self, name: str, model: _Model):
        try:
            served, plan = await asyncio.to_thread(choosing.choose, model.opened, self._share)
        except Exception as error:  # of the backend: half a dozen types
            self.problem = f"{name} can't be warmed up: {_line(error)}"
            return
        model.live = Live(served, plan, self._queue, self._observe)
        model.opened, model.seen = served, served.stamp
        self._note(f"{name}: {served.predictor.title}, version {served.version}; {plan.line}")

    async def _look(self, model: _Model, live: Live):
        """Takes up what is newer; what can't be is told once, and the old version stays."""
        model.old = [old for old in model.old if old.leases]
        old = live.served
        try:
            stamp = await asyncio.to_thread(artefacts.stamp, old.path)
            if stamp == model.seen:
                return
            model.seen = stamp
            served = await asyncio.to_thread(_newer, live)
        except Exception as error:  # damaged, half-written, of another kind, too large for the memory beside the old
            line = f"{old.name}: what is new there can't be used, version {old.version} stays: {_line(error)}"
            if line != model.told:
                model.told, model.refused = line, model.refused + 1
                self._note(line)
                self._reloaded(old.name, line)
            return
        model.seen, model.told = served.stamp, ""
        if served.version == old.version:
            return
        model.live = Live(served, live.plan, self._queue, self._observe)
        model.opened = served
        model.taken_up += 1
        live.retire()
        if live.leases:
            model.old.append(live)
        self._reloaded(old.name, "")
        self._note(f"{old.name}: version {served.version} in the place of {old.version}")


def _distinct(given):
    paths: dict[str, str] = {}
    for name, path in given:
        if name in paths:
            raise UserError(f"{paths[name]} and {path} have one name, {name!r}; write NAME={path}")
        paths[name] = path


def _newer(live):
    """What is there now, as warm as the version that answers. Raises whatever the backend does."""
    old = live.served
    served = artefacts.open_model(old.path, old.name, old.device, live.plan.threads or None, old.foreign)
    if served.version != old.version:
        choosing.warm(served, live.plan)
    return served


def _line(error):
    return " ".join(str(error).split()) or type(error).__name__
