"""The routes of a service but its page: `/predict`, `/models`, what is asked about its health, the open protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

import jaxcls
from jaxcls.serve import bodies, openapi, protocol
from jaxcls.serve.asking import Answered, Asked, ask, unless_gone
from jaxcls.serve.bodies import Gone
from jaxcls.serve.limits import Refused
from jaxcls.serve.metrics import Metrics
from jaxcls.serve.registry import Registry, Unknown
from jaxcls.serve.settings import Settings

LENGTH = "inference-header-content-length"
MOST_TOP = 100_000
Asks = Callable[[Request, list[Any], Asked], Awaitable[Answered]]


def router(registry: Registry, settings: Settings, metrics: Metrics) -> APIRouter:
    """All of them."""
    routes = APIRouter()

    async def asks(request: Request, pictures: list[Any], asked: Asked) -> Answered:
        found = await unless_gone(request, ask(registry, settings, metrics, pictures, asked))
        request.state.told = {"model": found.model, "version": found.version, "pictures": len(found.rows)}
        return found

    _predict(routes, settings, asks)
    _protocol(routes, registry, settings, asks)
    _health(routes, registry, metrics)
    return routes


def _predict(routes: APIRouter, settings: Settings, asks: Asks) -> None:
    @routes.post("/predict", tags=["predict"], openapi_extra=openapi.PREDICT, responses=openapi.PREDICTED)
    async def predict(request: Request) -> Response:
        """The classes of pictures, in their order. A picture that can't be answered has an `error` of its own; where
        none can be, the status is its."""
        try:
            sent = await bodies.pictures(request, settings.max_pictures)
            own = {"top": settings.top, **sent.fields}
            _asked(own)  # what the address says otherwise has to make sense, too
            asked = _asked({**own, **request.query_params})
            found = await asks(request, sent.pictures, asked)
        except Gone:
            return Response(status_code=499)
        content = {"model": found.model, "version": found.version, "step": found.step, "answers": found.rows}
        if found.status != 200:
            content["error"] = next(row["error"] for row in found.rows if "error" in row)
        return JSONResponse(content, found.status)


def _asked(fields: Mapping[str, Any]) -> Asked:
    """What the fields of an address, a form or JSON ask for. Read by hand, as those of a body have to be; FastAPI's own
    way costs a tenth of a request. Raises Refused for what makes no sense."""
    top, yes, model = fields["top"], fields.get("heatmap"), fields.get("model")
    number = str(int(top) if isinstance(top, float) and top.is_integer() else top)  # JSON does not tell 1.0 from 1
    if not (number.isascii() and number.isdigit() and len(number) < 9 and 0 < int(number) <= MOST_TOP):
        raise Refused(422, f"top is a whole number from 1 to {MOST_TOP:,}")
    if not isinstance(yes, bool | str | None) or str(yes or "").lower() not in ("", "0", "1", "true", "false"):
        raise Refused(422, "heatmap is true or false")
    if not isinstance(model, str | None):
        raise Refused(422, "model is the name of a model")
    return Asked(model or "", "", int(number), str(yes).lower() in ("1", "true"))


def _protocol(routes: APIRouter, registry: Registry, settings: Settings, asks: Asks) -> None:
    tags: list[Any] = ["open inference protocol"]

    def find(name, version):
        try:
            served = registry.get(name)
        except Unknown as error:
            raise Refused(404, "there is no model of this name") from error
        if version is not None and version != served.version:
            raise Refused(404, "there is no such version here")
        return served

    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        """Answers to pictures as tensors. All have one, or the request fails."""
        served = find(name, version)
        try:
            body = await bodies.read(request)
            asked = await bodies.off_loop(
                len(body), protocol.read, body, _json_length(request), served.predictor.picture, settings.max_pictures
            )
            found = await asks(request, asked.pictures, Asked(name, version or "", top=0))
        except Gone:
            return Response(status_code=499)
        for number, row in enumerate(found.rows, 1):
            if "error" in row:
                line = row["error"] if len(found.rows) == 1 else f"{row['error']} ({number} of {len(found.rows)})"
                raise Refused(found.status if found.status != 200 else 422, line)
        content, length = protocol.answer(asked, found)
        if length is None:
            return Response(content, media_type="application/json")
        return Response(content, media_type="application/octet-stream", headers={LENGTH: str(length)})

    async def metadata(name: str, version: str | None = None) -> dict[str, Any]:
        """The tensors that a model takes and gives."""
        return protocol.describe(find(name, version))

    async def ready(name: str, version: str | None = None) -> dict[str, Any]:
        """Whether a model is warm: 200, else 503."""
        return _ready(registry.load()[find(name, version).name]["workers"] > 0, {"name": name, "ready": True})

    for place in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        options: dict[str, Any] = {"tags": tags, "responses": openapi.REFUSED}
        extra: dict[str, Any] = {"openapi_extra": openapi.INFER, "responses": openapi.INFERRED}
        routes.add_api_route(f"{place}/infer", infer, methods=["POST"], tags=tags, **extra)
        routes.add_api_route(place, metadata, methods=["GET"], **options)
        routes.add_api_route(f"{place}/ready", ready, methods=["GET"], **options)

    @routes.get("/v2", tags=tags)
    async def server() -> dict[str, Any]:
        """The server."""
        return {"name": "jaxcls", "version": jaxcls.__version__, "extensions": ["binary_tensor_data"]}


def _json_length(request: Request) -> int | None:
    given = request.headers.get(LENGTH)
    if given is not None and not (given.isascii() and given.isdigit()):
        raise Refused(400, f"{LENGTH} has to be a number")
    return None if given is None else int(given[:12])


def _health(routes: APIRouter, registry: Registry, metrics: Metrics) -> None:
    tags: list[Any] = ["health"]
    warming: dict[Any, Any] = {503: {"description": "Not yet."}}

    @routes.get("/healthz", tags=tags)
    async def healthz() -> dict[str, Any]:
        """Whether the process answers."""
        return {"status": "ok"}

    @routes.get("/readyz", tags=tags, responses=warming)
    async def readyz() -> dict[str, Any]:
        """Whether every model is warm: 200, else 503."""
        return _ready(registry.ready, {"status": "ready"})

    @routes.get("/v2/health/live", tags=tags)
    async def live() -> dict[str, Any]:
        """As /healthz, in the open protocol."""
        return {"live": True}

    @routes.get("/v2/health/ready", tags=tags, responses=warming)
    async def ready() -> dict[str, Any]:
        """As /readyz, in the open protocol."""
        return _ready(registry.ready, {"ready": True})

    @routes.get("/models", tags=["models"], responses=openapi.MODELS)
    async def models() -> dict[str, Any]:
        """The models, the first one is the default: classes, version, step, what answers have beside the class."""
        return {"models": registry.describe()}

    @routes.get("/metrics", tags=tags, response_class=PlainTextResponse)
    async def prometheus() -> Response:
        """Counters for Prometheus, summed over the workers."""
        served = [registry.get(name) for name in registry.names()]
        text = metrics.text([(each.name, each.version, each.backend) for each in served])
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


def _ready(is_ready, content):
    if not is_ready:
        raise Refused(503, "a model is warming up; try again", Retry_After="2")
    return content
