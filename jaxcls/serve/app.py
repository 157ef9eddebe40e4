"""The service as an ASGI application: what stands around every request, and the routes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

import jaxcls
from jaxcls.serve import feedback, logs, metrics, page, routes
from jaxcls.serve.limits import Limits, Receive, Scope, Send, send_json
from jaxcls.serve.metrics import Metrics
from jaxcls.serve.registry import Registry
from jaxcls.serve.settings import Settings

# The page has its scripts and styles in files, shows pictures that were chosen, and asks nobody else.
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; object-src 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", POLICY.encode()),
)
QUIET = ("/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready")  # not in logs
ABOUT = "Classes of pictures: `POST /predict`, or the open inference protocol below `/v2`."


class Around:
    """What every request gets: an id, headers, a line in the log, a count; and 500 in place of a traceback."""

    def __init__(self, app: Callable[..., Awaitable[None]], counters: Metrics):
        self.app, self.counters = app, counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        begun, status = time.monotonic(), 499  # as nginx has it: the client left, and there was no answer
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        identity = logs.request_id(given)
        scope["state"] = {**scope.get("state", {}), "told": {}}

        async def sends(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                there = {name for name, _ in message.get("headers", ())}
                store = () if b"cache-control" in there else ((b"cache-control", b"no-store"),)
                own = (*HEADERS, *store, (b"x-request-id", identity.encode()))
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            await send(message)

        try:
            await self.app(scope, receive, sends)
        except Exception as error:
            logs.bug(error, id=identity)
            if status == 499:
                await send_json(sends, 500, {"error": "a fault of the service; its log has the reason"})
        finally:
            self._end(scope, identity, status, time.monotonic() - begun)

    def _end(self, scope, identity, status, seconds):
        path = scope["path"]
        self.counters.request(metrics.route(path), status, seconds)
        if path in QUIET and status in (200, 503):
            return
        client = (scope.get("client") or ("",))[0]
        told, milliseconds = scope["state"].get("told", {}), round(1000 * seconds, 1)
        logs.write(
            "request", id=identity, client=client, method=scope["method"], path=path[: logs.LONGEST], status=status,
            ms=milliseconds, **told,
        )  # fmt: skip


def create(
    registry: Registry,
    settings: Settings,
    counters: Metrics | None = None,
    host: str = "127.0.0.1",
    wait: bool = False,
) -> FastAPI:
    """The application.

    Args:
      registry: the models; started and stopped with the application.
      settings: its limits.
      counters: of this worker; None for new ones.
      host: that it listens on.
      wait: whether it takes no connection before its models are warm.
    """
    counters = counters or Metrics(registry.names())

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        await registry.start()
        if wait:
            await registry.settled.wait()
        yield
        await registry.stop()

    app = FastAPI(
        title="jaxcls", version=jaxcls.__version__, description=ABOUT, lifespan=lifespan,
        docs_url=None, redoc_url=None,  # FastAPI's pages load scripts from elsewhere
    )  # fmt: skip
    app.include_router(routes.router(registry, settings, counters))
    app.include_router(page.router(registry, settings))
    app.include_router(feedback.router(registry, settings))
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(Limits, settings=settings, host=host)
    if settings.origins:
        exposed = ["X-Request-ID", "Retry-After"]
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.origins, allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"], expose_headers=exposed,
        )  # fmt: skip
    app.add_middleware(Around, counters=counters)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    """What FastAPI finds wrong with parameters, in a line and without the values."""
    del request
    assert isinstance(error, RequestValidationError)
    found = [f"{'.'.join(str(part) for part in each['loc'][1:])}: {each['msg']}" for each in error.errors()]
    return JSONResponse({"error": "; ".join(found)[: logs.LONGEST]}, 422)
