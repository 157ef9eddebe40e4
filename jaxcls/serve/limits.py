"""Who may ask, and how much may come: host, origin, key, bytes, and the time in which they come.

All of it in one piece of ASGI before anything looks at the body, so that it holds for every route.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.exceptions import HTTPException

from jaxcls.serve import keys
from jaxcls.serve.settings import Settings

PATIENCE, RATE = 10.0, 10_000.0  # seconds for a body to arrive, and bytes that buy another one
BODIES = 8  # of the largest size that may be held at the same time
OPEN = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/", "/favicon.ico")  # without a key
OPEN_BELOW = "/static/"
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Refused(HTTPException):
    """A request that is not answered: status, one line, and headers beside."""

    def __init__(self, status: int, line: str, **headers: str):
        super().__init__(status, line, {name.replace("_", "-"): value for name, value in headers.items()} or None)


async def send_json(send: Send, status: int, content: Any, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """An answer by hand, where no route gives one."""
    body = json.dumps(content).encode()
    own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body})


class Limits:
    """Lets a request through to `app`, or answers itself why not.

    Args:
      app: what is behind.
      settings: the limits.
      host: that the service listens on.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], settings: Settings, host: str = "127.0.0.1"):
        self.app, self.settings, self.held = app, settings, 0
        machine = {"localhost", socket.gethostname().lower(), host.lower()}
        self.hosts = {*machine, *(name.lower() for name in settings.hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        body = Body(self, receive)
        try:
            self.check(scope)
            body.length(scope["headers"])
        except Refused as refused:
            own = [(name.encode(), value.encode()) for name, value in (refused.headers or {}).items()]
            return await send_json(send, refused.status_code, {"error": refused.detail}, own)
        try:
            await self.app(scope, body.receive, send)
        finally:
            self.held -= body.held

    def check(self, scope: Scope) -> None:
        """Raises Refused for a host that this is not, a web page from elsewhere, and a key that is missing or wrong."""
        headers, path = scope["headers"], scope["path"]
        named = [value for name, value in headers if name == b"host"]
        if len(named) != 1 or not self.is_host(named[0].decode("latin-1")):
            raise Refused(400, "this is not the host that was asked for; --allowed-host lets a name in")
        origin = next((value.decode("latin-1") for name, value in headers if name == b"origin"), None)
        writes = scope["method"] not in ("GET", "HEAD", "OPTIONS")
        if origin is not None and writes and not self.is_origin(origin, named[0].decode("latin-1")):
            raise Refused(403, "a web page from elsewhere may not ask; --allow-origin lets one in")
        free = path in OPEN or path.startswith(OPEN_BELOW)
        if self.settings.keys and not free and not keys.known(keys.of_headers(headers), self.settings.keys):
            raise Refused(401, "an API key is needed: Authorization: Bearer KEY", WWW_Authenticate="Bearer")

    def is_host(self, given: str) -> bool:
        """Whether a Host header names this service. Addresses always do: a name of a stranger's DNS is what a web page
        needs to reach into the network of whoever looks at it (DNS rebinding)."""
        name = given.lower()
        name = name[: name.rfind("]") + 1] if name.startswith("[") else name.partition(":")[0]
        try:
            ipaddress.ip_address(name.strip("[]"))
            return True
        except ValueError:
            return "*" in self.hosts or name in self.hosts or self._below(name)

    def _below(self, name):
        return any(host.startswith("*.") and name.endswith(host[1:]) for host in self.hosts)

    def is_origin(self, origin: str, host: str) -> bool:
        """Whether a page of this origin may send something: of this service, or one that is allowed."""
        allowed = self.settings.origins
        return (
            "*" in allowed
            or origin in allowed
            or origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")
        )


class Body:
    """The body of one request, counted and timed while it comes.

    Too much of it, or all bodies together taking more memory than BODIES of the largest, raises Refused in whoever
    receives; so does one that comes slower than RATE bytes a second, PATIENCE seconds aside.
    """

    def __init__(self, limits: Limits, receive: Receive):
        self._limits, self._receive, self._most = limits, receive, limits.settings.max_bytes
        self.held, self._ended, self._deadline = 0, False, time.monotonic() + PATIENCE

    def length(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Raises Refused where the headers say that too much will come."""
        given = next((value for name, value in headers if name == b"content-length"), b"0")
        if given.isdigit() and int(given[:20]) > self._most:
            raise self._too_large()

    async def receive(self) -> dict[str, Any]:
        """The next message, as of ASGI."""
        if self._ended:
            return await self._receive()  # waits until the client has gone
        try:
            async with asyncio.timeout(max(0.0, self._deadline + self.held / RATE - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            raise Refused(408, "the body came too slowly, or not at all") from None
        self._ended = not message.get("more_body", False)
        count = len(message.get("body", b""))
        self.held += count
        self._limits.held += count
        if self.held > self._most:
            raise self._too_large()
        if self._limits.held > BODIES * self._most:
            raise Refused(503, "too much is being sent at the moment; try again", Retry_After="1")
        return message

    def _too_large(self):
        return Refused(413, f"a request may have {self._most:,} bytes (--max-bytes)")
