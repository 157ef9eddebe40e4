"""A worker of a service: a process that has its job from `workers.Watch` on the standard input."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import pickle
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcls.errors import UserError
from jaxcls.serve import logs, ports, workers

if TYPE_CHECKING:
    from jaxcls.serve.workers import Job

GRACE = 2.0  # seconds beyond the time of a request for what still runs when the service ends
KEPT = 15  # seconds for which a connection is kept between two requests


def main(set_up: Callable[[], None]) -> int:
    """Opens the models, tells it, warms them up, tells it, and answers until SIGTERM; the exit status is 0.

    Args:
      set_up: called before JAX is used; not at all where ONNX files alone are served.

    Raises:
      UserError: for models that can't be opened or warmed up, a folder of feedback that can't be used.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us tells when to end
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing has begun
    run(pickle.load(sys.stdin.buffer), set_up)
    return 0


def run(job: Job, set_up: Callable[[], None]) -> None:
    """`main`, of a job."""
    import uvicorn

    from jaxcls.serve import app, artefacts, feedback, metrics
    from jaxcls.serve.connection import MOST, Connection
    from jaxcls.serve.registry import Registry

    if not all(artefacts.is_file(artefacts.named(path)[1]) for path in job.paths):
        set_up()
    counters: metrics.Metrics | None = None

    def observe(name: str, size: int, seconds: float) -> None:
        del name, seconds
        if counters:
            counters.batch(size)

    def note(line: str) -> None:
        if job.row == 0:
            print(line, flush=True)

    def reloaded(name: str, problem: str) -> None:
        assert counters
        counters.reloaded(name, not problem)
        if problem:
            logs.write("reload refused", model=name, worker=job.row, reason=problem)

    registry = Registry.open(
        job.paths, device=job.device, foreign=job.foreign, share=job.workers, queue=job.settings.queue,
        poll=job.settings.reload_every, note=note, observe=observe, reloaded=reloaded,
    )  # fmt: skip
    counters = metrics.Metrics(registry.names(), job.memory, job.workers + 1, job.row)
    if job.settings.feedback:
        models = [registry.get(name) for name in registry.names()]
        classes = [tuple(served.predictor.classes) for served in models]
        feedback.check(Path(job.settings.feedback), classes, [served.name for served in models if served.sets])
    logs.take_over()
    _many_files()
    application = app.create(registry, job.settings, counters, job.host, job.wait)
    config = uvicorn.Config(
        application, http=Connection, ws="none", lifespan="on", log_config=None, access_log=False, server_header=False,
        proxy_headers=False, limit_concurrency=MOST, timeout_keep_alive=KEPT,
        timeout_graceful_shutdown=int(job.settings.timeout + GRACE),
    )  # fmt: skip
    with asyncio.Runner(loop_factory=_loop()) as runner:
        runner.run(_serve(uvicorn.Server(config), registry, job))


async def _serve(server, registry, job):
    loop = asyncio.get_running_loop()

    def end(*_):
        server.should_exit = True

    def watch():
        with contextlib.suppress(OSError):
            os.read(0, 1)  # until whoever started us is gone
        loop.call_soon_threadsafe(end)

    signal.signal(signal.SIGTERM, end)  # uvicorn has its own handler, and raises the signal again when it has ended
    threading.Thread(target=watch, daemon=True).start()
    listener = socket.socket(fileno=job.listener)
    if job.workers > 1 and ports.DEALS:
        listener = ports.beside(listener)
    task = asyncio.create_task(server.serve([listener]))
    while not server.started and not task.done():
        if server.should_exit:
            os._exit(0)  # it warms up behind a closed port
        await asyncio.sleep(0.005)
    if server.started:
        os.write(job.ready, workers.OPEN)
        settled = asyncio.create_task(registry.settled.wait())
        await asyncio.wait((task, settled), return_when=asyncio.FIRST_COMPLETED)
        if registry.problem:
            end()
        elif settled.done():
            os.write(job.ready, workers.WARM)
    await task
    if registry.problem:
        raise UserError(registry.problem)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(0)  # a thread that still compiles something would be waited for


def _loop():
    """uvloop's, where it is installed, as uvicorn does it; else asyncio's."""
    try:
        return importlib.import_module("uvloop").new_event_loop
    except ModuleNotFoundError:
        return None


def _many_files():
    """As many open connections as the system allows."""
    with contextlib.suppress(OSError, ValueError):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
