"""How many threads or processes read: chosen by a measurement of a second, with a line that says what and why.

The choice never changes a result, only its time: batch s is computed from (seed, s), whoever reads it.
"""

import dataclasses
import hashlib
import threading
import time
from collections.abc import Callable
from typing import Any

from jaxcls.data.pipeline import Stream, default_threads
from jaxcls.errors import UserError

SMALL = 5000  # pictures below which a second of measuring is not worth it
SECONDS = 0.08  # of each measurement: there are four kinds, in turns
ROUNDS = 4  # of which the best counts, since other programs disturb
SPREADS = 0.6  # of what as many processes could do is what threads must reach to be preferred
BLOCK = bytes(2**20)
START = 30  # seconds that processes must save in all, since each start of them takes 3 to 7


@dataclasses.dataclass(frozen=True)
class Workers:
    """Reading processes (0: threads of this one), threads of each, and why."""

    processes: int
    threads: int
    why: str = ""


def independent(_: int) -> None:
    """Work that threads do without waiting for each other: hashing lets go of the interpreter's lock."""
    hashlib.sha256(BLOCK).digest()


def choose(
    read: Callable[[int], Any],
    pictures: int,
    *,
    cores: int | None = None,
    seconds: float | None = None,
    reference: Callable[[int], Any] = independent,
) -> Workers:
    """The Workers for reading pictures.

    One thread is measured, then as many as there are cores; the same with work that needs no lock, which shows how
    much the cores give just now. Threads win as long as they spread over the cores nearly as well as that work: they
    start at once and share memory. Where they wait for the interpreter's lock (slow Python code in a source or a
    transform), processes are expected to spread like that work, and win if that saves more than their start takes. They
    are not tried: starting them takes longer than a small set.

    Args:
      read: reads the i-th picture; any i from 0. A UserError ends the measurement, and comes again where it matters.
      pictures: how many will be read by one start of the workers.
      cores: processors of this process, by default those it may run on, at most 16.
      seconds: of each measurement, by default SECONDS.
      reference: the work without a lock.
    """
    cores, seconds = cores or default_threads(), seconds or SECONDS
    if cores == 1 or pictures < SMALL:
        return Workers(0, cores)
    try:
        kinds = [(work, n) for work in (read, reference) for n in (1, cores)]
        rates = [[rate(work, n, seconds) for work, n in kinds] for _ in range(ROUNDS)]
    except UserError:
        return Workers(0, cores)
    alone, together, free_alone, free_together = map(max, zip(*rates, strict=True))
    gain = max(1.0, free_together / free_alone)
    if together < SPREADS * gain * alone:
        saved = pictures / together - pictures / (gain * alone)
        if saved > START:
            why = f"{cores} threads read {together:,.0f} pictures/s, one alone {alone:,.0f}"
            return Workers(cores, 1, f"reading: {cores} processes, since {why}")
        if together < alone:
            return Workers(0, 1, f"reading: 1 thread, {alone:,.0f} pictures/s ({cores} threads {together:,.0f})")
    return Workers(0, cores, f"reading: {cores} threads, {together:,.0f} pictures/s (one alone {alone:,.0f})")


def rate(read: Callable[[int], Any], threads: int, seconds: float) -> float:
    """Pictures a second that so many threads read together, for at least one picture each."""
    counts = [0] * threads
    errors: list[Exception] = []
    began = time.perf_counter()

    def work(k: int) -> None:
        try:
            while not errors and (counts[k] == 0 or time.perf_counter() - began < seconds):
                read(k + threads * counts[k])
                counts[k] += 1
        except Exception as error:
            errors.append(error)

    running = [threading.Thread(target=work, args=(k,)) for k in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if errors:
        raise errors[0]
    return sum(counts) / (time.perf_counter() - began)


def of_stream(stream: Stream, pictures: int) -> Workers:
    """`choose` for a pipeline.Stream that will give so many pictures."""
    first = stream.share_of(0)
    size = len(first["index"])

    def read(i):
        step, row = divmod(i, size)
        stream.example(row, stream.share_of(step) if step else first, [] if stream.skips else None)

    return choose(read, pictures)
