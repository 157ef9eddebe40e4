"""The port of a service, and a socket for each worker."""

import socket

import pytest

from jaxcls.errors import UserError
from jaxcls.serve import ports


def test_a_port_in_use_is_told():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port} can't be used: Address already in use"):
            ports.bind("127.0.0.1", port)
    for host in ("no.such.host.invalid", "256.1.1.1", "a" * 300):
        with pytest.raises(UserError, match="can't be used"):
            ports.bind(host, 0)


@pytest.mark.skipif(not ports.DEALS, reason="the kernel deals connections on Linux alone")
def test_several_workers_get_connections_each():
    first = ports.bind("127.0.0.1", 0, several=True)
    sockets = [ports.beside(first), ports.beside(first)]
    for listener in sockets:
        listener.listen(64)
        listener.setblocking(False)
    clients = [socket.create_connection(first.getsockname()) for _ in range(40)]  # all to one: once in 5e11
    taken = [accepted(listener) for listener in sockets]
    for one in (*clients, *sockets, first):
        one.close()
    assert sum(taken) == 40 and all(taken)


def test_several_workers_do_not_share_a_port_with_somebody_else():
    other = ports.bind("127.0.0.1", 0, several=True)
    other.listen()
    with pytest.raises(UserError, match="can't be used: Address already in use"):
        ports.bind("127.0.0.1", other.getsockname()[1], several=True)
    other.close()


def accepted(listener):
    """How many connections wait; they are closed."""
    count = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1
