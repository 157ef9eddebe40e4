"""What serve_load.py and serve_attack.py ask with: servers as processes, a small HTTP client, many of them at a time.

Linux only: processor time and memory of a server and its children come from /proc.
"""

import asyncio
import collections
import contextlib
import dataclasses
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from jaxcls.errors import UserError

TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
LIMIT = 60.0  # seconds after which an answer that has not come is a hang
PAUSE = 0.1  # seconds before a client that was told 503 asks again
Check = Callable[[int, bytes], bool]  # (number of the request in the list, body of its answer) -> whether it is right


class Server:
    """A server as a process; what it writes goes to `log`, a file.

    Args:
      command: with PORT in place of its port.
      log: a path.
      core: that it is bound to with its children; None for all.
      ready: an address that answers 200 once it is warm.
      more: of its environment.
    """

    def __init__(
        self, command: Sequence[str], log: Path, core: int | None = None, ready: str = "/readyz",
        more: Mapping[str, str] | None = None,
    ):  # fmt: skip
        self.port, self.log, self._ready = free_port(), log, ready
        words = [str(self.port) if word == "PORT" else str(word) for word in command]
        if core is not None:
            words = ["taskset", "-c", str(core), *words]
        with open(log, "w") as output:
            environment = {**os.environ, **(more or {})}
            self.process = subprocess.Popen(words, stdout=output, stderr=output, env=environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in reversed(self.tree()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 15)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            for pid in reversed(self.tree()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            self.process.wait()

    async def until_ready(self, seconds: float = 300) -> None:
        """Waits until it is warm. Raises UserError where it ends before, or takes too long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                if (await once(self.port, get(self._ready), 5)).status == 200:
                    return
            await asyncio.sleep(0.1)
        raise UserError(f"a server did not come up: {self.log.read_text()[-500:]}; read {self.log}")

    def tree(self) -> list[int]:
        """The process and all its descendants."""
        found = [self.process.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    found += map(int, (task / "children").read_text().split())
        return found

    def cpu(self) -> float:
        """Seconds of the processor that those who live have taken."""
        total = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def mebibytes(self) -> float:
        """Resident memory, of all together; what they share is counted for each."""
        total = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return total * PAGE / 2**20


def free_port() -> int:
    """A port of the loopback that nobody has."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@dataclasses.dataclass(frozen=True)
class Answer:
    """Of a server."""

    status: int
    headers: dict[str, str]
    body: bytes


def get(path: str) -> bytes:
    """A request without a body."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def post(path: str, body: bytes, kind: str, *headers: str) -> bytes:
    """A request with a body."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body


def form(parts: Sequence[tuple[str, bytes]], boundary: str = "0123456789abcdef") -> tuple[bytes, str]:
    """(body, Content-Type) of a form of files: (file name, bytes) each."""
    head = '--{}\r\nContent-Disposition: form-data; name="file"; filename="{}"\r\nContent-Type: image/jpeg\r\n\r\n'
    body = b"".join(head.format(boundary, name).encode("latin-1") + data + b"\r\n" for name, data in parts)
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


async def receive(reader: asyncio.StreamReader) -> Answer:
    """The next answer. Raises EOFError where the connection ends before, OSError where it breaks."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:]) if name}
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Answer(int(head[0].split()[1]), headers, body)


async def once(port: int, request: bytes, limit: float = LIMIT) -> Answer:
    """The answer to one request on a connection of its own. Raises TimeoutError after `limit` seconds."""
    async with asyncio.timeout(limit):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            return await receive(reader)
        finally:
            writer.close()


@dataclasses.dataclass
class Load:
    """What clients have seen.

    Attributes:
      seconds: by the clock. latencies: seconds of each good answer.
      errors: kind ("503", "ConnectionResetError", "hang", "wrong") -> how many.
      lost: (local port, kind, moment of time.monotonic) of each request that had no answer.
    """

    seconds: float = 0.0
    latencies: list[float] = dataclasses.field(default_factory=list)
    errors: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    lost: list[tuple[int, str, float]] = dataclasses.field(default_factory=list)


async def load(
    port: int, requests: Sequence[bytes], clients: int, going: Callable[[], bool], check: Check | None = None,
    renew: int = 0,
) -> Load:  # fmt: skip
    """Clients that ask one thing after another while `going()`; the last answers are awaited.

    Each does so on one connection, or on a new one after every `renew` requests.
    """
    found, began = Load(), time.monotonic()
    await asyncio.gather(*(_client(port, requests, i, going, check, found, renew) for i in range(clients)))
    found.seconds = time.monotonic() - began
    return found


async def _client(port, requests, number, going, check, found, renew):
    writer, asked = None, number
    while going():
        which, number, asked = number % len(requests), number + 7, asked + 1
        began, local = time.monotonic(), 0
        try:
            async with asyncio.timeout(LIMIT):
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                local = writer.get_extra_info("sockname")[1]
                writer.write(requests[which])
                answer = await receive(reader)
        except (OSError, EOFError) as error:  # a TimeoutError is an OSError
            kind = "hang" if isinstance(error, TimeoutError) else type(error).__name__
            found.errors[kind] += 1
            found.lost.append((local, kind, time.monotonic()))
            if writer:
                writer.close()
            writer = None
            await asyncio.sleep(PAUSE)
            continue
        if answer.status != 200:
            found.errors[str(answer.status)] += 1
            await asyncio.sleep(PAUSE)
        elif check and not check(which, answer.body):
            found.errors["wrong"] += 1
        else:
            found.latencies.append(time.monotonic() - began)
        if answer.headers.get("connection") == "close" or (renew and asked % renew == 0):
            writer.close()
            writer = None
    if writer:
        writer.close()


def until(seconds: float) -> Callable[[], bool]:
    """True for so many seconds from now."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() < end
