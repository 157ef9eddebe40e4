"""The clients of serve_load.py and serve_attack.py see what a server does; no speed is asserted."""

import asyncio
import collections
import email
import http.client
import io
import json
import sys

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx_files
from pictures import encode, smooth

from scripts import SCRIPTS, load, run_json

sys.path.insert(0, str(SCRIPTS / "bench"))
try:
    import _serve_client as client
    import _serve_hostile as hostile
finally:
    sys.path.remove(str(SCRIPTS / "bench"))

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"


async def served(answers, use):
    """What `use(port)` gives while a server writes one of the answers after another; None closes the connection."""
    waiting = collections.deque(answers)

    async def serve(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(client_length(head))
                answer = waiting.popleft() if waiting else PLAIN + b"abc"
                if answer is None:
                    break
                writer.write(answer)
        except asyncio.IncompleteReadError:
            pass
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        return await use(server.sockets[0].getsockname()[1])


def client_length(head):
    return int(email.message_from_bytes(head.partition(b"\r\n")[2])["Content-Length"] or 0)


def test_answers_are_counted_by_kind():
    refused = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n"
    answers = [PLAIN + b"abc", CHUNKED, refused, None, PLAIN + b"xyz"]
    left = iter(range(8))
    ask = lambda port: client.load(  # noqa: E731
        port, [client.get("/"), client.post("/", b"12345", "text/plain")], 1, lambda: next(left, None) is not None,
        lambda which, body: body == b"abc", renew=3,
    )  # fmt: skip
    seen = asyncio.run(served(answers, ask))
    assert seen.errors == {"503": 1, "IncompleteReadError": 1, "wrong": 1} and len(seen.latencies) == 5
    assert [kind for _, kind, _ in seen.lost] == ["IncompleteReadError"] and seen.lost[0][0] > 0


def test_what_is_sent_is_http():
    body, kind = client.form([("a.jpg", b"\0\r\n1"), ("b.jpg", b"")])
    message = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    assert [(part.get_filename(), part.get_payload(decode=True)) for part in message.get_payload()] == [
        ("a.jpg", b"\0\r\n1"), ("b.jpg", b""),
    ]  # fmt: skip

    class Kept:
        def __init__(self, data):
            self.data = data

        def makefile(self, *_):
            return io.BytesIO(self.data)

    parsed = http.client.HTTPResponse(Kept(CHUNKED))
    parsed.begin()
    assert parsed.read() == b"abc"
    assert asyncio.run(served([CHUNKED], lambda port: client.once(port, client.get("/")))).body == b"abc"


def test_hostile_requests_are_drawn_alike_and_of_all_kinds():
    first, second, other = (hostile.some(12, seed) for seed in (1, 1, 2))
    assert first == second and first != other and {kind for kind, _ in first} == set(hostile.KINDS)
    assert sum(share for _, share in hostile.KINDS.values()) == 100
    assert all(part is not None for _, each in first for part in each.parts)


def test_what_a_hostile_request_comes_to():
    send = lambda what: lambda port: hostile.send(port, what)  # noqa: E731
    whole = client.get("/")
    assert asyncio.run(served([], send(hostile.Hostile((whole[:5], whole[5:]), pause=0.01)))).status == 200
    assert asyncio.run(served([None], send(hostile.Hostile((whole,))))) is None
    assert asyncio.run(served([], send(hostile.Hostile((whole,), leaves=True)))) is None
    assert asyncio.run(served([], send(hostile.Hostile((whole[:-3],), half=True)))) is None


def test_figures_of_rounds():
    script = load("bench/serve_load.py")
    rounds = [
        (client.Load(2.0, [0.1] * 5, collections.Counter({"503": 2})), 0.5),
        (client.Load(3.0, [0.2] * 5), 0.5),
    ]
    row = script.row("x", 4, rounds)
    assert row["requests_per_second"] == 2 and row["cpu_ms"] == pytest.approx(100) and row["errors"] == {"503": 2}
    assert row["p50_ms"] == pytest.approx(150) and row["p99_ms"] == pytest.approx(200)
    body = json.dumps({"answers": [{"class": "a", "probability": 0.5}]}).encode()
    assert script.same(body, {"class": "a", "probability": 0.5 + 5e-7})
    assert not script.same(body, {"class": "a", "probability": 0.5 + 5e-6})
    assert not script.same(body, {"class": "b", "probability": 0.5})


def test_another_answer_than_of_the_version_is_wrong(tmp_path):
    script = load("bench/serve_attack.py")
    files = [script.net(tmp_path / f"{i}.onnx", i) for i in range(2)]
    good = script.Good(*files)
    first, second = map(script.digest, files)
    for which in (0, 11):  # one picture, and four
        rows = good.rows[first][which]
        assert good.check(which, json.dumps({"version": f"7-{first}", "answers": rows}).encode())
        for changed in ({"version": second, "answers": rows}, {"version": "0", "answers": rows},
                        {"version": first, "answers": rows[1:]},
                        {"version": first, "answers": good.rows[second][which]}):  # fmt: skip
            assert not good.check(which, json.dumps(changed).encode())
    assert good.versions[first] == 6 and good.versions[second] == 2


@pytest.mark.slow
def test_the_whole(tmp_path, capsys):
    if not sys.platform.startswith("linux"):
        pytest.skip("the bench reads /proc")
    pytest.importorskip("fastapi")
    path = onnx_files.model(tmp_path / "net.onnx", onnx_files.told())
    (tmp_path / "a.jpg").write_bytes(encode(smooth(), "JPEG"))
    script = load("bench/serve_load.py")
    core = min(script.os.sched_getaffinity(0))
    found = run_json(
        script, capsys,
        f"{path} --pictures {tmp_path} --clients 1 4 --seconds 0.3 --rounds 1 --cores {core} {core}",
    )  # fmt: skip
    assert {row["server"] for row in found["rows"]} == {"jaxcls, net.onnx", "naive"} and found["right"]
