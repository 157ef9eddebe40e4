"""Connections between processes (`watch.py`): lines of text, and bytes that pass from one to another.

The first line of a connection to process 0 says what it is for: `HELLO watch INDEX NUMBER`, or `HELLO rpc INDEX`, of
which every byte goes to JAX's coordination service and back. When process 0 ends, the end is not passed on: XLA
aborts a process whose connection to its service ends.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator

from jaxcls.errors import UserError

HELLO = "jaxcls"
PATIENCE = 10.0  # seconds for a first line, or for a connection
LONGEST = 1000  # bytes of a line


class Link:
    """A connection that carries lines. `done`: its process has nothing to do any more; `gone`: it has ended."""

    def __init__(self, connection: socket.socket):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self.done = self.gone = False
        self._rest = b""
        self._sending = threading.Lock()

    def send(self, text: str) -> None:
        """Sends a line; where that fails, who reads from the link notices, too."""
        with contextlib.suppress(OSError), self._sending:
            self.connection.sendall(f"{text}\n".encode())

    def lines(self, timeout: float) -> Iterator[str]:
        """Its lines until it ends. Raises TimeoutError after `timeout` seconds without one, OSError, ValueError."""
        while line := self.line(timeout):
            yield line

    def line(self, timeout: float) -> str:
        """The next line; "" at the end. Raises as `lines` does."""
        self.connection.settimeout(timeout)
        while b"\n" not in self._rest:
            if len(self._rest) > LONGEST:
                raise ValueError("a line without an end")
            more = self.connection.recv(256)
            if not more:
                return ""
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def open(self) -> bool:
        """Whether the other end is there; for links of which nothing is read at present."""
        try:
            self.connection.setblocking(False)
            return self.connection.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            with contextlib.suppress(OSError):
                self.connection.settimeout(PATIENCE)

    def close(self) -> None:
        """Ends it."""
        self.connection.close()


def connect(address: str, purpose: str) -> Link:
    """A connection to process 0 at "HOST:PORT". Raises OSError."""
    host, port = split(address)
    link = Link(socket.create_connection((host, port), timeout=PATIENCE))
    link.send(f"{HELLO} {purpose}")
    return link


def split(address: str) -> tuple[str, int]:
    """("HOST", PORT) of "HOST:PORT", whose host may be an IPv6 address in brackets. Raises UserError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f"--coordinator_address={address} is not HOST:PORT, with a port from 1 to 65535.")
    return host.strip("[]"), int(port)


def free_port() -> int:
    """A port of this machine that nobody uses at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def listen(address: str, come: Callable[[Link, list[str]], None], service: str) -> None:
    """On process 0: `come(link, words)` for each process that wants to be watched; the others are led to the service.

    Raises UserError where the port can't be used.
    """
    port = split(address)[1]
    try:
        if socket.has_dualstack_ipv6():
            server = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
        else:
            server = socket.create_server(("", port), backlog=1024)
    except OSError as error:
        raise UserError(
            f"--coordinator_address={address}: {os.strerror(error.errno or 0)}; choose another port."
        ) from error

    def greet(connection):
        link = Link(connection)
        with contextlib.suppress(OSError, ValueError):
            words = link.line(PATIENCE).split()
            if words[:2] == [HELLO, "watch"]:
                return come(link, words[2:])
            if words[:2] == [HELLO, "rpc"]:
                inner = socket.create_connection(split(service), timeout=PATIENCE)
                inner.sendall(link._rest)
                return _both(connection, inner)
        link.close()

    threading.Thread(target=_serve, args=(server, greet), name="processes", daemon=True).start()


def to(reach: Callable[[], Link]) -> str:
    """On another process: an address of its own that leads to `reach()`, a new connection for each one made."""
    server = socket.create_server(("127.0.0.1", 0), backlog=64)

    def greet(connection):
        with contextlib.suppress(OSError):
            return _both(connection, reach().connection, keep=True)
        connection.close()

    threading.Thread(target=_serve, args=(server, greet), name="coordination", daemon=True).start()
    return f"127.0.0.1:{server.getsockname()[1]}"


def _serve(server, greet):
    while True:
        with contextlib.suppress(OSError):
            connection, _ = server.accept()
            threading.Thread(target=greet, args=(connection,), daemon=True).start()


def _both(near, far, keep=False):
    """Passes bytes in both directions; with `keep` the end of `far` is kept from `near`."""
    for connection in (near, far):
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=_pass, args=(near, far), daemon=True).start()
    _pass(far, near, end=not keep)


def _pass(source, target, end=True):
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    if not end:
        threading.Event().wait()  # for good: both connections stay as they are
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
