"""The port of a service: a socket that has it, or one for each worker."""

import socket
import sys

from jaxcls.errors import UserError

DEALS = sys.platform == "linux"  # elsewhere the newest socket at a port takes all connections


def bind(host: str, port: int, several: bool = False) -> socket.socket:
    """A socket that has the port and does not listen yet; `several`: others may have it with `beside`.

    Raises:
      UserError: where it can't be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = _bound(found[:3], found[4])
        if several and DEALS:  # now that the port is known to be nobody's
            place = listener.getsockname()
            listener.close()
            listener = _bound(found[:3], place, socket.SO_REUSEPORT)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--host {host} --port {port} can't be used: {reason}; choose another one") from error
    return listener


def beside(listener: socket.socket) -> socket.socket:
    """Another socket at the address of one of `bind(..., several=True)`."""
    return _bound((listener.family, listener.type), listener.getsockname(), socket.SO_REUSEPORT)


def _bound(kind, place, *options):
    made = socket.socket(*kind)
    try:
        for option in (socket.SO_REUSEADDR, *options):
            made.setsockopt(socket.SOL_SOCKET, option, 1)
        made.bind(place)
    except BaseException:
        made.close()
        raise
    return made


def address(listener: socket.socket, host: str) -> str:
    """Where a browser finds it."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}/"
