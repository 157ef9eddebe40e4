"""Measures `jaxcls serve` under load against a naive FastAPI endpoint and LitServe with the same net, in turns.

    python -m venv lit-env && lit-env/bin/pip install litserve onnxruntime pillow    # a place of its own
    python scripts/bench/serve_load.py resnet18.onnx --pictures photos --litserve lit-env/bin/python
    python scripts/bench/serve_load.py resnet18.onnx runs/resnet18 --pictures photos   # and a run, by JAX

The servers have one core, and the clients another one: over the loopback, each client asks one thing after another, a
form with a JPEG. Only one server is asked at a time; the order is reversed every other round. CPU ms: of the server
and its children, a request. The answers to files are compared with those of jaxcls's own predictor (1e-6). At last
more clients than --queue lets in: nothing but 503 may come of that. Linux only.
"""

import argparse
import asyncio
import collections
import contextlib
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _serve_client import Load, Server, form, load, once, post, until
from gpu import commit

from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError

HERE = Path(__file__).resolve().parent
JPEG = (".jpg", ".jpeg")
CAPACITY = 16  # pictures that may wait where more are sent than are let in


@dataclasses.dataclass
class Contender:
    """A server with what was seen of it: number of clients -> [(Load, seconds of the processor)], one a round."""

    server: Server
    is_ours: bool
    seen: dict[int, list[tuple[Load, float]]] = dataclasses.field(default_factory=lambda: collections.defaultdict(list))


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", nargs="+", help="an ONNX file first, which the others serve, too; then what else to serve")
    add("--pictures", type=Path, required=True, metavar="FOLDER", help="of JPEG files, of which --count are sent")
    add("--count", type=int, default=32, help="default %(default)s")
    add("--clients", type=int, nargs="+", default=[1, 4, 16, 64], metavar="N", help="default 1 4 16 64")
    add("--seconds", type=float, default=4, help="of a turn with up to 4 clients; default %(default)s")
    add("--rounds", type=int, default=2, help="default %(default)s")
    add("--litserve", metavar="PYTHON", help="that has LitServe; default: without it")
    add("--naive", metavar="PYTHON", default=sys.executable, help="that has FastAPI; default: this one")
    add("--cores", type=int, nargs=2, default=[0, 1], metavar="N", help="of servers and of clients; default 0 1")
    add("--json", action="store_true", help="a JSON object")
    args = parser.parse_args(argv)
    if not args.model[0].endswith(".onnx"):
        raise UserError(f"{args.model[0]}: the others serve ONNX files alone; name one first (jaxcls export --to onnx)")
    pictures = [path for path in sorted(args.pictures.glob("*")) if path.suffix.lower() in JPEG][: args.count]
    if not pictures:
        raise UserError(f"{args.pictures} has no JPEG files; name a folder that does (--pictures)")
    os.sched_setaffinity(0, {args.cores[1]})
    result = asyncio.run(measure(args, [path.read_bytes() for path in pictures]))
    print(json.dumps(result) if args.json else "\n".join(lines(result)))
    return 0 if result["right"] else 1


async def measure(args: argparse.Namespace, pictures: Sequence[bytes]) -> dict[str, Any]:
    """Conditions, "rows" (of `row`), "above" (that of more clients than are let in), "right": whether ours made no
    error but 503 in the last one."""
    result: dict[str, Any] = {"commit": commit(), "cores": os.cpu_count(), "load": [os.getloadavg()[0]]}
    requests = [post("/predict", *form([("picture.jpg", picture)])) for picture in pictures]
    expected = answers(args.model[0], pictures)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        log = Path(folder)
        contenders: dict[str, Contender] = {}
        for name, command, ready in commands(args):
            server = stack.enter_context(Server(command, log / f"{len(contenders)}.log", args.cores[0], ready))
            await server.until_ready()
            for request in requests[:2]:
                if (answer := await once(server.port, request)).status != 200:
                    raise UserError(f"{name} answers {answer.status}: {answer.body.decode(errors='replace')[:300]}")
            contenders[name] = Contender(server, name == called(args.model[0]))
        for turn in range(args.rounds):
            for clients in args.clients:
                for contender in list(contenders.values())[:: -1 if turn % 2 else 1]:
                    await ask(contender, requests, clients, args.seconds * max(1, clients**0.5 / 2), expected)
        rows = [row(name, clients, seen) for name, c in contenders.items() for clients, seen in c.seen.items()]
    full, right = await above(args, requests, expected)
    result["load"].append(os.getloadavg()[0])
    own = [r for r in rows if r["server"].startswith("jaxcls")]
    return result | {"rows": rows, "above": full, "right": right and not any(r["errors"] for r in own)}


def commands(args: argparse.Namespace) -> Iterator[tuple[str, list[str], str]]:
    """(name, command, address that tells when it is ready) of each server."""
    for model in args.model:
        yield called(model), ours(model), "/readyz"
    peers = [("naive", args.naive), ("litserve", args.litserve)]
    for name, python in peers:
        if python:
            yield name, [python, str(HERE / "_serve_peers.py"), name, args.model[0], "PORT"], "/health"


def called(model: str) -> str:
    """Our server's name in the table."""
    return f"jaxcls, {Path(model).name}"


def ours(model: str, *more: str) -> list[str]:
    """The command of our server."""
    return [sys.executable, "-m", "jaxcls", "serve", model, "--port", "PORT", *more]


def answers(model: str, pictures: Sequence[bytes]) -> list[dict[str, Any]]:
    """What a file answers to pictures, without a server."""
    from jaxcls.runtime.predictor import FilePredictor

    predictor = FilePredictor.load(model, threads=1)
    return [predictor(predictor.prepare(picture)[None], 5)[0] for picture in pictures]


def same(body: bytes, expected: dict[str, Any]) -> bool:
    """Whether the one answer of a body is what is expected."""
    (given,) = json.loads(body)["answers"]
    return given["class"] == expected["class"] and abs(given["probability"] - expected["probability"]) <= 1e-6


async def ask(contender: Contender, requests: Sequence[bytes], clients: int, seconds: float, expected: list) -> None:
    """One turn."""
    check = (lambda which, body: same(body, expected[which])) if contender.is_ours else None
    before = contender.server.cpu()
    seen = await load(contender.server.port, requests, clients, until(seconds), check)
    contender.seen[clients].append((seen, contender.server.cpu() - before))


async def above(args: argparse.Namespace, requests: Sequence[bytes], expected: list) -> tuple[dict[str, Any], bool]:
    """A server that lets few in, asked by four times as many: its row, and whether nothing but 503 came of it."""
    command = ours(args.model[0], "--queue", str(CAPACITY), "--max-pictures", "1")
    with tempfile.TemporaryDirectory() as folder, Server(command, Path(folder) / "log", args.cores[0]) as server:
        await server.until_ready()
        contender = Contender(server, True)
        await ask(contender, requests, 4 * CAPACITY, 2 * args.seconds, expected)
    figures = row(f"jaxcls, --queue {CAPACITY}", 4 * CAPACITY, contender.seen[4 * CAPACITY])
    return figures, set(figures["errors"]) <= {"503"}


def row(name: str, clients: int, seen: Sequence[tuple[Load, float]]) -> dict[str, Any]:
    """Figures of all rounds of a server with so many clients."""
    latencies = np.concatenate([load.latencies for load, _ in seen]) * 1e3
    errors = sum((load.errors for load, _ in seen), collections.Counter())
    p50, p99 = np.percentile(latencies, (50, 99)) if len(latencies) else (np.nan, np.nan)
    return {
        "server": name,
        "clients": clients,
        "requests": len(latencies),
        "requests_per_second": len(latencies) / sum(load.seconds for load, _ in seen),
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "cpu_ms": sum(cpu for _, cpu in seen) / max(1, len(latencies)) * 1e3,
        "errors": dict(errors),
    }


def lines(result: dict[str, Any]) -> Iterator[str]:
    """A table in Markdown."""
    began, ended = result["load"]
    yield f"Commit {result['commit'] or 'unknown'}; {result['cores']} cores, load {began:.1f} to {ended:.1f}.\n"
    yield "| server | clients | requests | requests/s | p50 ms | p99 ms | CPU ms a request | errors |"
    yield "|---|---|---|---|---|---|---|---|"
    for r in [*result["rows"], result["above"]]:
        errors = ", ".join(f"{kind}: {count}" for kind, count in sorted(r["errors"].items())) or "0"
        figures = f"{r['requests_per_second']:.1f} | {r['p50_ms']:.0f} | {r['p99_ms']:.0f} | {r['cpu_ms']:.1f}"
        yield f"| {r['server']} | {r['clients']} | {r['requests']} | {figures} | {errors} |"


if __name__ == "__main__":
    sys.exit(main())
