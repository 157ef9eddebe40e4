"""Who may ask and how much may come, over real connections: sizes, slowness, hosts, origins, keys."""

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import threading
import time

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("onnxruntime")
pytest.importorskip("httptools")
httpx = pytest.importorskip("httpx")

import uvicorn  # noqa: E402
from serve_http import client, net, picture  # noqa: E402

from jaxcls.errors import UserError  # noqa: E402
from jaxcls.serve import connection, keys, limits  # noqa: E402
from jaxcls.serve.settings import Settings  # noqa: E402

KEY, LARGEST = "a-key-of-a-test-0123456789", 100_000
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return net(tmp_path_factory.mktemp("limits"))


@contextlib.contextmanager
def listening(path, settings):
    """The port of a service in a thread, on connections of the kind that workers have."""
    ready, end, found = threading.Event(), threading.Event(), {}

    async def serve():
        async with client(path, settings) as (asks, _):
            config = uvicorn.Config(
                asks._transport.app, port=0, http=connection.Connection, lifespan="off", log_config=None, ws="none"
            )
            server = uvicorn.Server(config)
            task = asyncio.create_task(server._serve())
            while not server.started:
                await asyncio.sleep(0.01)
            found["port"] = server.servers[0].sockets[0].getsockname()[1]
            ready.set()
            await asyncio.to_thread(end.wait)
            server.should_exit = server.force_exit = True
            await task

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(20)
        yield found["port"]
    finally:
        end.set()
        thread.join()


@pytest.fixture(scope="module")
def port(path):
    """Of a service with short patience."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "PATIENCE", 0.5)
        patch.setattr(limits, "PATIENCE", 0.5)
        with listening(path, Settings(max_bytes=LARGEST)) as found:
            yield found


def talk(port, *pieces, pause=0.0, seconds=20):
    """What comes back for bytes that are sent in pieces, until the other side closes; or answers, where it keeps on."""
    with socket.create_connection(("127.0.0.1", port), seconds) as link:
        with contextlib.suppress(OSError):  # it has closed meanwhile
            for piece in pieces:
                link.sendall(piece)
                time.sleep(pause)
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while more := link.recv(65536):
                found += more
    return found


def status(answer):
    return int(answer.split(b" ", 2)[1]) if answer else 0


def length(count, close=True):
    return HEAD + b"Content-Length: %d\r\n" % count + b"Connection: close\r\n" * close + b"\r\n"


def test_a_good_request_is_answered(port):
    found = talk(port, length(len(picture())), picture())
    assert status(found) == 200 and b'"class":' in found


def test_bytes_are_counted_while_they_come(port):
    announced = talk(port, length(10**12), b"x" * 1000)
    chunk = b"%x\r\n%s\r\n" % (60_000, b"x" * 60_000)
    streamed = talk(port, HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n", chunk, chunk, chunk)
    assert status(announced) == status(streamed) == 413
    for odd in (b"-1", b"1e3", b"9" * 400, b"5, 6"):
        found = talk(port, HEAD + b"Content-Length: " + odd + b"\r\nConnection: close\r\n\r\n", b"hello")
        assert status(found) in (0, 400, 413)


def test_what_comes_too_slowly_is_cut(port):
    begun = time.monotonic()
    nothing = talk(port)  # a connection without a word
    head = talk(port, b"POST /pre")
    half = talk(port, length(len(picture())), picture()[:100])
    drops = talk(port, length(5000), *[b"x"] * 12, pause=0.1)
    assert [status(each) for each in (nothing, head, half, drops)] == [408] * 4
    assert time.monotonic() - begun < 15


def test_heads_have_limits(port):
    many = talk(port, HEAD, b"".join(b"X-%d: y\r\n" % i for i in range(200)), b"\r\n")
    large = talk(port, HEAD, b"X: " + b"y" * 40_000, b"\r\n\r\n")
    endless = talk(port, HEAD, *[b"X-%d: " % i + b"y" * 1000 + b"\r\n" for i in range(60)])
    address = talk(port, b"GET /" + b"a" * 40_000, b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert [status(each) for each in (many, large, endless, address)] == [431] * 4
    for nonsense in (
        b"\x16\x03\x01\x02\x00" + bytes(200),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ):
        assert status(talk(port, nonsense)) == 400


def test_an_unwanted_body_does_not_hold_the_connection(port):
    begun = time.monotonic()
    head = length(50_000, close=False).replace(b"/predict", b"/nothing")
    found = talk(port, head, *[b"x"] * 8, pause=0.2)
    assert status(found) == 404 and time.monotonic() - begun < 15


def test_bodies_together_have_a_limit(path, monkeypatch):
    monkeypatch.setattr(limits, "BODIES", 1.5)

    async def main():
        async with client(path, Settings(max_bytes=LARGEST)) as (asks, _):
            more = asyncio.Event()

            async def slowly():
                yield bytes(80_000)
                await more.wait()

            first = asyncio.create_task(asks.post("/predict", content=slowly()))
            await asyncio.sleep(0.05)
            busy = await asks.post("/predict", content=bytes(80_000))
            more.set()
            await first
            return busy, (await asks.post("/predict", content=bytes(80_000)))

    busy, later = asyncio.run(main())
    assert busy.status_code == 503 and busy.headers["Retry-After"] and later.status_code == 422


@pytest.mark.parametrize(
    "host, allowed, good",
    [
        ("localhost:8000", (), True), ("127.0.0.1", (), True), ("[::1]:80", (), True), ("10.1.2.3:80", (), True),
        (socket.gethostname(), (), True), ("evil.example", (), False), ("localhost.evil.example", (), False),
        ("127.0.0.1.evil.example", (), False), ("", (), False), ("a b", (), False),
        ("api.example.com", ("*.example.com",), True), ("example.com", ("*.example.com",), False),
        ("API.Example.com:443", ("api.example.com",), True), ("any.thing", ("*",), True),
    ],
)  # fmt: skip
def test_it_answers_to_its_own_names(host, allowed, good):
    found = limits.Limits(None, Settings(hosts=allowed), "127.0.0.1")
    assert found.is_host(host) == good


def test_hosts_origins_and_keys(path):
    settings = Settings(keys=(keys.digest(KEY.encode()),), origins=("https://friend.example",))
    image, own = {"content": picture()}, {"X-API-Key": KEY}

    async def main():
        async with client(path, settings) as (asks, _):
            found = {
                "no key": await asks.post("/predict", **image),
                "wrong key": await asks.post("/predict", headers={"Authorization": "Bearer " + "x" * 30}, **image),
                "key": await asks.post("/predict", headers=own, **image),
                "bearer": await asks.post("/predict", headers={"Authorization": f"Bearer {KEY}"}, **image),
                "health": await asks.get("/healthz"),
                "page": await asks.get("/"),
                "models": await asks.get("/models"),
                "metrics": await asks.get("/metrics"),
                "docs": await asks.get("/openapi.json"),
                "strange host": await asks.get("/healthz", headers={"Host": "evil.example"}),
                "own page": await asks.post("/predict", headers={**own, "Origin": "http://localhost"}, **image),
                "stranger": await asks.post("/predict", headers={**own, "Origin": "https://evil.example"}, **image),
                "sandbox": await asks.post("/predict", headers={**own, "Origin": "null"}, **image),
                "friend": await asks.post("/predict", headers={**own, "Origin": "https://friend.example"}, **image),
            }
            wants = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
            for who in ("friend", "evil"):
                asked = {"Origin": f"https://{who}.example", **wants}
                found[f"preflight of {who}"] = await asks.options("/predict", headers=asked)
            return found

    found = asyncio.run(main())
    assert {name: response.status_code for name, response in found.items()} == {
        "no key": 401, "wrong key": 401, "key": 200, "bearer": 200, "health": 200, "page": 200, "models": 401,
        "metrics": 401, "docs": 401, "strange host": 400, "own page": 200, "stranger": 403, "sandbox": 403,
        "friend": 200, "preflight of friend": 200, "preflight of evil": 400,
    }  # fmt: skip
    assert found["friend"].headers["access-control-allow-origin"] == "https://friend.example"
    assert "access-control-allow-origin" not in found["own page"].headers
    assert json.loads(found["no key"].text)["error"] and found["no key"].headers["x-frame-options"] == "DENY"


def test_without_origins_no_page_from_elsewhere_reads_anything(path):
    async def main():
        async with client(path) as (asks, _):
            return await asks.get("/models", headers={"Origin": "https://evil.example"})

    assert not [name for name in asyncio.run(main()).headers if name.startswith("access-control")]


def test_keys_of_a_file(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{KEY}\n\n  another-key-0123456789  \n")
    file.chmod(0o600)
    found = keys.read(file)
    assert found == tuple(hashlib.sha256(key).digest() for key in (KEY.encode(), b"another-key-0123456789"))
    assert keys.known(KEY.encode(), found) and keys.known(b"another-key-0123456789", found)
    assert not any(keys.known(key, found) for key in (b"", KEY.encode()[:-1], KEY.encode() + b"x"))


@pytest.mark.parametrize(
    "content, mode, word",
    [(KEY, 0o604, "chmod 600"), (KEY, 0o620, "chmod 600"), ("", 0o600, "no key"), ("short", 0o600, "key 1"),
     ("# none\n", 0o600, "no key")],
)  # fmt: skip
def test_files_of_keys_that_are_refused(tmp_path, content, mode, word):
    file = tmp_path / "keys"
    file.write_text(content)
    os.chmod(file, mode)
    with pytest.raises(UserError, match=word) as caught:
        keys.read(file)
    assert KEY not in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UserError, match="can't be read"):
        keys.read(tmp_path / "none")
