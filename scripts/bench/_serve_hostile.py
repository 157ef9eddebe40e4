"""Hostile requests for serve_attack.py: `KINDS`, kind -> function(Random, number) -> `Hostile`."""

import asyncio
import base64
import dataclasses
import json
import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _serve_client import Answer, form, get, post, receive
from _serve_nonsense import ADDRESSES, CONTENT_TYPES, FILE_NAMES, PROTOCOLS, TENSORS, bodies

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from bombs import BOMBS
from pictures import encode

REFUSED = frozenset((400, 401, 403, 404, 405, 408, 411, 413, 414, 415, 422, 431, 501, 503, 504, 505))
READ = REFUSED | {200}  # where a picture may be readable after all
IMAGE = "image/jpeg"


@dataclasses.dataclass(frozen=True)
class Hostile:
    """A request.

    Attributes:
      parts: what is sent, piece by piece.
      statuses: that may answer it.
      silent: whether the connection may be closed without an answer.
      pause: seconds between the parts. leaves: whether the client goes after the last one, reading nothing; `half`:
        whether it says that nothing more comes.
    """

    parts: tuple[bytes, ...]
    statuses: frozenset[int] = REFUSED
    silent: bool = False
    pause: float = 0.0
    leaves: bool = False
    half: bool = False


async def send(port: int, hostile: Hostile) -> Answer | None:
    """The answer; None where there is none. Sending stops where an answer is there."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        answer = asyncio.ensure_future(receive(reader))
        for part in hostile.parts:
            writer.write(part)
            await writer.drain()
            if hostile.pause:
                await asyncio.wait((answer,), timeout=hostile.pause)
            if answer.done():
                break
        if hostile.leaves:
            answer.cancel()
            return None
        if hostile.half:
            writer.write_eof()
        return await answer
    except (OSError, EOFError):
        if answer.done() and not answer.cancelled() and not answer.exception():
            return answer.result()
        return None
    finally:
        answer.cancel()
        writer.transport.abort()


def picture(rng: random.Random) -> bytes:
    """A good JPEG or PNG."""
    pixels = np.random.default_rng(rng.randrange(100)).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    return encode(pixels, rng.choice(("JPEG", "PNG")))


def broken(rng: random.Random, number: int) -> Hostile:
    """Cut, with other bytes, or none at all."""
    data = bytearray(picture(rng))
    how = number % 5
    if how == 0:
        data = data[: rng.randrange(len(data))]
    elif how == 1:
        for _ in range(rng.randrange(1, 30)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif how == 2:
        data = rng.randbytes(rng.randrange(1, 5000))
    elif how == 3:
        data = rng.choice(
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<html>", b"\0" * 1000, b"%PDF-1.4", b"PK\3\4")
        )
    else:
        data = data[:30] * 50
    if rng.random() < 0.5:
        return Hostile((post("/predict", *form([("a.jpg", bytes(data)), ("b.jpg", picture(rng))])),), READ)
    return Hostile((post("/predict", bytes(data), rng.choice((IMAGE, "application/octet-stream"))),), READ)


def bomb(rng: random.Random, number: int) -> Hostile:
    """Small files that ask for much."""
    name = sorted(BOMBS)[number % len(BOMBS)]
    return Hostile((post("/predict", BOMBS[name](), IMAGE),), READ)


def kind(rng: random.Random, number: int) -> Hostile:
    """A Content-Type that isn't taken, or isn't what comes."""
    given = CONTENT_TYPES[number % len(CONTENT_TYPES)]
    return Hostile((post("/predict", picture(rng), given),), READ if given == ";;;" else REFUSED)  # that names no kind


def cut(rng: random.Random, number: int) -> Hostile:
    """Forms that end too early, or aren't forms."""
    body, kind = form([("a.jpg", picture(rng)), ("b.jpg", picture(rng))])
    whole, how = post("/predict", body, kind), number % 6
    if how < 2:
        return Hostile((whole[: -rng.randrange(1, len(body))],), silent=True, half=how == 0, leaves=how == 1)
    if how == 2:
        body = body[: -rng.randrange(20, len(body))]
    elif how == 3:
        body = body.replace(b"\r\n\r\n", b"\n", 1)
    elif how == 4:
        body, kind = form([(f"{i}.jpg", b"x") for i in range(rng.choice((65, 3000)))])
    else:
        body = body.replace(b"form-data", rng.choice((b"", b"attachment", b"\xff" * 3000)), 1)
    return Hostile((post("/predict", body, kind),), READ if how in (3, 5) else REFUSED)


def name(rng: random.Random, number: int) -> Hostile:
    """Names of files that lead elsewhere; the pictures are good."""
    return Hostile((post("/predict", *form([(FILE_NAMES[number % len(FILE_NAMES)], picture(rng))])),), READ)


def flood(rng: random.Random, number: int) -> Hostile:
    """Too many headers, too long ones, and ones without an end."""
    how = number % 5
    start = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    if how == 0:
        return Hostile(
            (start + b"".join(b"X-%d: 1\r\n" % i for i in range(rng.randrange(101, 5000))) + b"\r\n",), silent=True
        )
    if how == 1:
        return Hostile((start + b"X-A: " + b"a" * rng.randrange(40_000, 500_000) + b"\r\n\r\n",), silent=True)
    if how == 2:
        return Hostile((start, *[b"X-A: " + b"a" * 2000 + b"\r\n"] * 500), silent=True)
    if how == 3:
        return Hostile((b"GET /" + b"a" * rng.randrange(40_000, 200_000) + b" HTTP/1.1\r\n\r\n",), silent=True)
    return Hostile((b"POST /predict HTTP/1.1\r\n" + b"Host: 127.0.0.1\r\n" * 3 + b"\r\n",), silent=True)


def slow(rng: random.Random, number: int) -> Hostile:
    """Drops of a head or a body, or nothing."""
    request, how = post("/predict", picture(rng), IMAGE), number % 4
    if how == 0:
        return Hostile((b"", *(request[i : i + 1] for i in range(60))), silent=True, pause=0.5)
    if how == 1:
        head = request.index(b"\r\n\r\n") + 4
        return Hostile((request[:head], *(request[i : i + 1] for i in range(head, head + 60))), silent=True, pause=0.5)
    return Hostile(((b"", request[: len(request) // 2])[how - 2],), silent=True, pause=1)


def length(rng: random.Random, number: int) -> Hostile:
    """Lengths that aren't true, or make no sense."""
    data, how = picture(rng), number % 9
    head = "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\n"
    said = {0: len(data) + 1000, 1: -5, 2: "1e3", 3: 10**15, 4: "9" * 400, 5: 10}.get(how)
    if said is not None:
        request = f"{head}Content-Length: {said}\r\n\r\n".encode() + data
        return Hostile((request,), silent=True, half=how == 0)
    chunked = f"{head}Transfer-Encoding: chunked\r\n".encode()
    if how == 6:
        return Hostile((chunked + b"Content-Length: 5\r\n\r\n0\r\n\r\nGET /models HTTP/1.1\r\n\r\n",), silent=True)
    if how == 7:
        return Hostile((chunked + b"\r\n" + rng.choice((b"zz", b"-1", b"f" * 30)) + b"\r\nabc\r\n",), silent=True)
    return Hostile((chunked + b"\r\n", *[b"100000\r\n" + bytes(2**20) + b"\r\n"] * 40), silent=True)


def words(rng: random.Random, number: int) -> Hostile:
    """JSON, base64 and parameters that make no sense."""
    made = bodies(base64.b64encode(picture(rng)).decode())
    return Hostile((post("/predict", made[number % len(made)], "application/json"),))


def tensor(rng: random.Random, number: int) -> Hostile:
    """The open protocol with tensors that aren't what they say."""
    one = {"name": "image", "datatype": "UINT8", "shape": [1, 16, 16, 3], "data": [0] * 768}
    body = {"inputs": [one | TENSORS[number % len(TENSORS)]]}
    if number % 7 == 0:
        body = rng.choice(({"inputs": []}, {"inputs": [one, one]}, {"inputs": 5}, [], {"outputs": [5], **body}))
    path = rng.choice(("/v2/models/net/infer", "/v2/models/net/infer", "/v2/models/..%2f/infer"))
    if number % 11 == 0:  # lies about where the JSON ends
        more = f"Inference-Header-Content-Length: {rng.choice((5, 10**11, -1, 'x'))}"
        return Hostile(
            (post(path, json.dumps(body).encode() + struct.pack("<I", 2**31), "application/octet-stream", more),)
        )
    return Hostile((post(path, json.dumps(body).encode(), "application/json"),))


def path(rng: random.Random, number: int) -> Hostile:
    """Addresses that lead elsewhere, methods and protocols that aren't there."""
    if number % 2:
        return Hostile((PROTOCOLS[number // 2 % len(PROTOCOLS)],), silent=True)
    return Hostile((get(ADDRESSES[number // 2 % len(ADDRESSES)]),), REFUSED | {301, 307}, silent=True)


def leaver(rng: random.Random, number: int) -> Hostile:
    """Good requests whose clients go before the answer."""
    return Hostile((post("/predict", *form([("a.jpg", picture(rng))] * rng.randrange(1, 60))),), leaves=True)


Kind = Callable[[random.Random, int], Hostile]
KINDS: dict[str, tuple[Kind, int]] = {  # and how many of a hundred
    "broken pictures": (broken, 22),
    "bombs": (bomb, 4),
    "wrong types": (kind, 8),
    "cut forms": (cut, 13),
    "names of files": (name, 6),
    "header floods": (flood, 8),
    "slow bodies": (slow, 4),
    "wrong lengths": (length, 9),
    "JSON and base64": (words, 11),
    "tensors": (tensor, 6),
    "addresses": (path, 6),
    "leaving": (leaver, 3),
}


def some(count: int, seed: int) -> list[tuple[str, Hostile]]:
    """So many of all kinds, shuffled; seeds 0, 1, .. go on with what is next of each kind."""
    rng = random.Random(seed)
    made = []
    for text, (make, share) in KINDS.items():
        each = max(1, count * share // 100)
        made += [(text, make(rng, seed * each + i)) for i in range(each)]
    rng.shuffle(made)
    return made
