"""uvicorn's connection with the limits that it lacks: how long a head may be and take, and who never reads answers.

What concerns bodies is in `limits`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD, FIELDS = 32 * 1024, 100  # bytes of a request's line and headers, and how many headers
PATIENCE = 10.0  # seconds for a head to arrive
READING = 30.0  # seconds for a client to take what waits for it
MOST = 2048  # connections at the same time


class TooLarge(Exception):
    """A head with too much in it."""


class Connection(HttpToolsProtocol):
    """One connection; given to uvicorn.Config as `http`."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._at_head, self._bytes, self._fields, self._whole = True, 0, 0, True
        self._limit: asyncio.TimerHandle | None = None
        self._reader: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._at_head:
            self._bytes += len(data)
            self._arm()
        if self.parser is not None:
            super().data_received(data)
        if self._at_head and self._bytes > HEAD and not self.transport.is_closing():
            self._refuse(431)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._at_head, self._whole, self._fields = True, False, 0
        self._arm()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        if self._fields > FIELDS or sum(map(len, (self.url, name, value))) > HEAD:
            raise TooLarge
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._at_head, self._bytes = False, 0
        self._disarm()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._at_head = self._whole = True
        self._disarm()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # The rest of a body that nobody wanted is thrown away for a while, so that its sender can read the answer.
        if not self._whole and self.cycle.response_complete:
            self._arm()

    def send_400_response(self, msg: str) -> None:
        del msg
        self._refuse(431 if self._fields > FIELDS or self._bytes > HEAD else 400)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._reader is None:
            self._reader = self.loop.call_later(READING, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def _arm(self):
        if self._limit is None:
            self._limit = self.loop.call_later(PATIENCE, self._late)

    def _disarm(self):
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _late(self):
        self._limit = None
        if not self.transport.is_closing():
            self._refuse(408)

    def _refuse(self, status):
        line = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}[status]
        if self.cycle is None or self.cycle.response_complete:  # else it would stand within another answer
            self.transport.write(b"HTTP/1.1 %d %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % (status, line))
        self.transport.close()
