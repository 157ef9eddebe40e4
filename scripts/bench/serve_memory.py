"""Measures the memory of `jaxcls serve` over many requests; prints a table in Markdown.

    python scripts/bench/serve_memory.py digits.onnx runs/digits                  # 100,000 requests to each
    python scripts/bench/serve_memory.py digits.onnx --requests 1000 --clients 1

Each request is a form with one drawn picture, over HTTP on the loopback; the server has one core, and the clients
another one. MiB: resident, of the service's processes together, after a hundredth, a tenth, a half and all of the
requests. Answers of files are compared with those of jaxcls's own predictor (1e-6). Exit status: 0; 1 where an answer
was wrong or none, or memory grew by more than 16 MiB after the first tenth; 2 for wrong arguments. Linux only.
"""

import argparse
import asyncio
import itertools
import os
import random
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from _serve_client import Check, Server, form, load, post
from _serve_hostile import picture
from gpu import commit
from serve_load import answers, called, ours, same

from jaxcls.cli.entry import entry_point

SHARES = (0.01, 0.1, 0.5, 1.0)  # of the requests, after which memory is looked at
GROWS = 16.0  # MiB between the second look and the last one that count as a leak
PICTURES = 32


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="+", help="ONNX files and runs, each served by itself")
    parser.add_argument("--requests", type=int, default=100_000, help="to each; default %(default)s")
    parser.add_argument("--clients", type=int, default=4, help="default %(default)s")
    parser.add_argument("--cores", type=int, nargs=2, default=[0, 1], metavar="N", help="server, clients; default 0 1")
    args = parser.parse_args(argv)
    if args.requests < 100:
        parser.error("--requests has to be at least 100")
    print(f"    python scripts/bench/serve_memory.py {shlex.join(sys.argv[1:] if argv is None else argv)}\n")
    print(f"Commit {commit() or 'unknown'}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start.\n")
    os.sched_setaffinity(0, {args.cores[1]})
    marks = [round(share * args.requests) for share in SHARES]
    looks = " | ".join(f"MiB after {mark:,}" for mark in marks)
    print(f"| server | {looks} | requests/s | CPU ms a request | errors |\n|{'---|' * (len(marks) + 4)}", flush=True)
    good = True
    for model in args.model:
        found = asyncio.run(measure(model, marks, args.clients, args.cores[0]))
        print(row(called(model), found), flush=True)
        good = good and not found["errors"] and found["mebibytes"][-1] - found["mebibytes"][1] <= GROWS
    print(f"\nload {os.getloadavg()[0]:.1f} at the end.")
    return 0 if good else 1


async def measure(model: str, marks: Sequence[int], clients: int, core: int) -> dict:
    """Figures of one server: "mebibytes" at each mark, "errors" by kind, "seconds", "cpu", "requests"."""
    rng = random.Random(0)
    pictures = [picture(rng) for _ in range(PICTURES)]
    requests = [post("/predict", *form([("picture.jpg", each)])) for each in pictures]
    check: Check | None = None
    if model.endswith(".onnx"):
        expected = answers(model, pictures)
        check = lambda which, body: same(body, expected[which])  # noqa: E731 - of this model
    with tempfile.TemporaryDirectory() as folder, Server(ours(model), Path(folder) / "log", core) as server:
        await server.until_ready()
        begun, cpu, errors, looks = time.monotonic(), server.cpu(), {}, []
        for before, mark in itertools.pairwise((0, *marks)):
            numbers: Iterator[int] = itertools.count(before)
            seen = await load(server.port, requests, clients, lambda: next(numbers) < mark, check)  # noqa: B023
            errors = {kind: errors.get(kind, 0) + seen.errors[kind] for kind in {*errors, *seen.errors}}
            looks.append(server.mebibytes())
        cpu, seconds = server.cpu() - cpu, time.monotonic() - begun
    return {"mebibytes": looks, "errors": errors, "seconds": seconds, "cpu": cpu, "requests": marks[-1]}


def row(name: str, found: dict) -> str:
    """A row of the table."""
    looks = " | ".join(f"{look:.1f}" for look in found["mebibytes"])
    errors = ", ".join(f"{kind}: {count}" for kind, count in sorted(found["errors"].items())) or "0"
    each = f"{found['requests'] / found['seconds']:.0f} | {1e3 * found['cpu'] / found['requests']:.2f}"
    return f"| {name} | {looks} | {each} | {errors} |"


if __name__ == "__main__":
    sys.exit(main())
