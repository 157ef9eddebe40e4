"""Attacks `jaxcls serve` while good clients go on, and counts what came of it; prints tables in Markdown.

    python scripts/bench/serve_attack.py hostile          # 2,000 hostile requests, 16 good clients
    python scripts/bench/serve_attack.py kill reload

    hostile   broken pictures, bombs, wrong types, cut forms, floods, slow bodies, wrong lengths, nonsense, names
    kill      kill -9 of one of two workers, five times: which requests have no answer
    reload    the file is replaced twenty times, and damaged: each answer is of exactly one version

The nets are tiny ones, so that it is the service that is attacked; the answers to good clients have to be those of
jaxcls's predictor, to 1e-6. The server has one core (`kill`: both), the clients another one. Exit status: 0; 1 where
anything was answered wrongly, hung, or took too much memory, with a line for each; 2 for wrong arguments. Linux only.
"""

import argparse
import asyncio
import collections
import contextlib
import json
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from _serve_client import LIMIT, Answer, get, load, once, until
from _serve_good import CLIENTS, ROOT, Good, digest, good_ones, judge, listed, net, start
from _serve_hostile import KINDS, Hostile, send, some
from gpu import commit

from jaxcls.cli.entry import entry_point

AT_ONCE = 32  # hostile requests at the same time
PARTS = 4  # after which memory is looked at
MORE = 1024  # MiB beyond what it began with, at the peak
KEPT = 512  # MiB beyond what it began with, afterwards: what the allocator keeps goes up and down
WAYS = ("hostile", "kill", "reload")
Rows = list[tuple[object, ...]]


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attack", nargs="*", default=WAYS, metavar="ATTACK", help=f"{', '.join(WAYS)}; default: all")
    parser.add_argument("--requests", type=int, default=2000, help="hostile ones; default %(default)s")
    parser.add_argument("--cores", type=int, nargs=2, default=[0, 1], metavar="N", help="server, clients; default 0 1")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.attack if name not in WAYS]:
        parser.error(f"there is no attack {unknown[0]!r}; choose of {', '.join(WAYS)}")
    words = sys.argv[1:] if argv is None else argv
    print(f"    python scripts/bench/serve_attack.py {shlex.join(words)}\n")
    print(f"Commit {commit() or 'unknown'}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start.")
    all_cores = os.sched_getaffinity(0)
    faults: list[str] = []
    for name in args.attack:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            os.sched_setaffinity(0, all_cores)
            rows = asyncio.run(globals()[name](Path(folder), args, faults.append))
        for row in (rows[0], ["---"] * len(rows[0]), *rows[1:]):
            print(f"| {' | '.join(map(str, row))} |" if row[0] != "---" else "|---" * len(row) + "|")
        print(f"\n{name}: {time.monotonic() - began:.0f} s\n", flush=True)
    print(f"load {os.getloadavg()[0]:.1f} at the end; {len(faults)} fault(s).")
    for fault in faults:
        print(f"- {fault}")
    return 1 if faults else 0


async def hostile(folder: Path, args: argparse.Namespace, note: Callable[[str], None]) -> Rows:
    """Rows of kinds, of the good clients, and of memory."""
    path = net(folder / "net.onnx")
    good, outcomes = Good(path), collections.defaultdict(collections.Counter)
    parts = [some(args.requests // PARTS, seed) for seed in range(PARTS)]
    os.sched_setaffinity(0, {args.cores[1]})
    with start(path, folder, args.cores[0]) as server:
        await server.until_ready()
        await load(server.port, good.requests, CLIENTS, until(3), good.check)
        memory, peak, going = [server.mebibytes()], [0.0], [True]
        watch = asyncio.create_task(_watch(server, peak))
        asking = asyncio.create_task(load(server.port, good.requests, CLIENTS, lambda: going[0], good.check))
        for part in parts:
            await _sent(server.port, part, outcomes, [str(folder), str(ROOT), "Traceback"], note)
            await asyncio.sleep(2)
            memory.append(server.mebibytes())
        going[0] = False
        seen = await asking
        watch.cancel()
        alive = server.process.poll() is None
        died = server.log.read_text().count("worker died")
    bugs = sum('"bug"' in line or "Traceback" in line for line in (folder / "log").read_text().splitlines())
    judge(seen, note)
    if not alive or died or bugs:
        note(f"the server: {'alive' if alive else 'dead'}, workers that died {died}, tracebacks in its log {bugs}")
    after = ", ".join(f"{each:.0f}" for each in memory[1:])
    told = f"{memory[0]:.0f} before, {peak[0]:.0f} at the peak, {after} after each of {PARTS} parts"
    if peak[0] - memory[0] > MORE or memory[-1] - memory[0] > KEPT:
        note(f"memory, MiB: {told}")
    rows: Rows = [("kind", "sent", "answers")]
    rows += [(kind, sum(outcomes[kind].values()), listed(outcomes[kind])) for kind in KINDS]
    rows.append((f"{CLIENTS} good clients", len(seen.latencies) + sum(seen.errors.values()), good_ones(seen)))
    rows.append(("memory, MiB", "", told))
    return rows


async def _watch(server, peak):
    while True:
        peak[0] = max(peak[0], server.mebibytes())
        await asyncio.sleep(0.05)


async def _sent(port: int, requests: Sequence[tuple[str, Hostile]], outcomes, secret: Sequence[str], note) -> None:
    """Sends them all; slow ones apart, since they wait for nothing but the clock."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(kind: str, hostile: Hostile):
        async with slots if not hostile.pause else contextlib.AsyncExitStack():
            try:
                async with asyncio.timeout(LIMIT):
                    answer = await send(port, hostile)
            except TimeoutError:
                outcomes[kind]["hang"] += 1
                return note(f"{kind}: no end after {LIMIT:.0f} s: {hostile.parts[0][:150]!r}")
            outcomes[kind][str(answer.status) if answer else "gone" if hostile.leaves else "closed"] += 1
            if fault := _fault(hostile, answer, secret):
                note(f"{kind}: {fault} to {hostile.parts[0][:150]!r}")

    await asyncio.gather(*(one(*request) for request in requests))


def _fault(hostile: Hostile, answer: Answer | None, secret: Sequence[str]) -> str:
    if answer is None:
        return "" if hostile.silent or hostile.leaves else "closed without an answer"
    if answer.status not in hostile.statuses:
        return f"answered {answer.status} {answer.body[:80]!r}"
    text = answer.body.decode(errors="replace")
    return f"answered with {[word for word in secret if word in text]}" if any(word in text for word in secret) else ""


async def kill(folder: Path, args: argparse.Namespace, note: Callable[[str], None]) -> Rows:
    """A row for each kill."""
    path = net(folder / "net.onnx")
    good, rows = (
        Good(path),
        [("kill", "connections of the worker", "requests without answer", "of others", "restarted after s")],
    )
    with start(path, folder, None, "--workers", "2") as server:
        await server.until_ready()
        while len(server.tree()) < 3:
            await asyncio.sleep(0.1)
        going = [True]
        asking = load(server.port, good.requests, CLIENTS, lambda: going[0], good.check, renew=10)
        task, kills = asyncio.create_task(asking), []
        for _ in range(5):
            await asyncio.sleep(4)  # a life below 3 s counts as a death at once
            first = server.tree()[1:]
            victim = max(first, key=lambda pid: len(ports(pid, server.port)))
            os.kill(victim, signal.SIGSTOP)
            held, began = ports(victim, server.port), time.monotonic()
            os.kill(victim, signal.SIGKILL)
            while len([pid for pid in server.tree()[1:] if pid != victim]) < 2 and time.monotonic() < began + 30:
                await asyncio.sleep(0.02)
            kills.append((held, began, time.monotonic() - began))
        await asyncio.sleep(4)
        going[0] = False
        seen = await task
        text = (await once(server.port, get("/metrics"))).body.decode()
    for i, (held, began, took) in enumerate(kills, 1):
        lost = [port for port, _, when in seen.lost if began <= when < began + 4]
        others = sum(port not in held for port in lost)
        rows.append((i, len(held), len(lost), others, f"{took:.1f}"))
        if others or took > 10:
            note(f"kill {i}: {others} requests of the other worker had no answer; a new worker after {took:.1f} s")
    if "jaxcls_worker_restarts_total 5\n" not in text:
        note("jaxcls_worker_restarts_total is not 5")
    judge(seen, note, {"ConnectionResetError", "IncompleteReadError", "BrokenPipeError"})
    return [*rows, (f"{CLIENTS} good clients", "", len(seen.lost), "", good_ones(seen))]


def ports(pid: int, port: int) -> set[int]:
    """Ports of those who are connected to the port `port`, at the process."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(link).removeprefix("socket:[").rstrip("]"))
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port and fields[9] in inodes and fields[3] != "0A":
            found.add(int(fields[2].rpartition(":")[2], 16))
    return found


async def reload(folder: Path, args: argparse.Namespace, note: Callable[[str], None]) -> Rows:
    """A row for each version."""
    files = [net(folder / f"{i}.onnx", i) for i in range(3)]
    good, path = Good(*files), folder / "net.onnx"
    path.write_bytes(files[0].read_bytes())
    os.sched_setaffinity(0, {args.cores[1]})
    with start(path, folder, args.cores[0], "--reload-every", "0.2") as server:
        await server.until_ready()
        going = [True]
        task = asyncio.create_task(load(server.port, good.requests, CLIENTS, lambda: going[0], good.check))
        for new in _replacements(files):
            await asyncio.sleep(1)
            if new is None:
                path.write_bytes(files[0].read_bytes()[:500])  # in place, and damaged: the old version stays
                continue
            (folder / "new").write_bytes(new.read_bytes())
            os.replace(folder / "new", path)
        await asyncio.sleep(2)
        going[0] = False
        seen = await task
        last = json.loads((await once(server.port, good.requests[0])).body)["version"]
    judge(seen, note)
    if not last.endswith(digest(files[2])):
        note(f"the last version is {last}, and should be {digest(files[2])}")
    rows: Rows = [("version", "answers, all of it alone")]
    rows += [(digest(file), good.versions[digest(file)]) for file in files]
    if unknown := set(good.versions) - set(good.rows):
        note(f"versions that were never there: {unknown}")
    if not all(good.versions[digest(file)] for file in files):
        note("a version was never taken up")
    return [*rows, (f"{CLIENTS} good clients", good_ones(seen))]


def _replacements(files: Sequence[Path]) -> Iterator[Path | None]:
    for i in range(20):
        yield files[(i + 1) % 2]
        if i % 5 == 4:
            yield None
    yield files[2]


if __name__ == "__main__":
    sys.exit(main())
