"""How many threads or processes read: chosen by a measurement of a second, with a line that says what and why.

The choice never changes a result, only its time: batch s is computed from (seed, s), whoever reads it.
"""

import dataclasses
import hashlib
import threading
import time

from jaxcls.data.pipeline import default_threads
from jaxcls.errors import UserError

SMALL = 5000  # pictures below which a second of measuring is not worth it
SECONDS = 0.08  # of each measurement: there are four kinds, in turns
ROUNDS = 4  # of which the best counts, since other programs disturb
SPREADS = 0.6  # of what as many processes could do is what threads must reach to be preferred
BLOCK = bytes(2**20)
START = 30  # seconds that processes must save in all, since each start of them takes 3 to 7


@dataclasses.dataclass(frozen=True)
class Crew:
    """Reading processes (0: threads of this one), threads of each, and why."""

    workers: int
    threads: int
    why: str = ""


def independent(_):
    """Work that threads do without waiting for each other: hashing lets go of the interpreter's lock."""
    hashlib.sha256(BLOCK).digest()


def choose(read, pictures, *, cores=None, seconds=None, reference=independent):
    """A Crew for reading pictures.

    One thread is measured, then as many as there are cores; the same with work that needs no lock, which shows how
    much the cores give just now: others may be using them. Threads win as long as they spread over the cores nearly as
    well as that work: they start at once and share memory. Where they wait for the interpreter's lock (slow Python code
    in a source or a transform; decoding, cropping and reading let go of it), processes are expected to spread like that
    work, and win if that saves more than their start takes. They are not tried: starting them takes longer than a small
    set.

    Args:
      read: reads the i-th picture; any i from 0. A UserError ends the measurement, and comes again where it matters.
      pictures: how many will be read, by one start of the crew.
      cores: processors of this process, by default those it may run on, at most 16.
      seconds: of each measurement, by default SECONDS.
      reference: the work without a lock.
    """
    cores, seconds = cores or default_threads(), seconds or SECONDS
    if cores == 1 or pictures < SMALL:
        return Crew(0, cores)
    try:
        kinds = [(work, n) for work in (read, reference) for n in (1, cores)]
        rates = [[rate(work, n, seconds) for work, n in kinds] for _ in range(ROUNDS)]
    except UserError:
        return Crew(0, cores)
    alone, together, free_alone, free_together = map(max, zip(*rates, strict=True))
    gain = max(1.0, free_together / free_alone)
    if together < SPREADS * gain * alone:
        saved = pictures / together - pictures / (gain * alone)
        if saved > START:
            why = f"{cores} threads read {together:,.0f} pictures/s, one alone {alone:,.0f}"
            return Crew(cores, 1, f"reading: {cores} processes, since {why}")
        if together < alone:
            return Crew(0, 1, f"reading: 1 thread, {alone:,.0f} pictures/s ({cores} threads {together:,.0f})")
    return Crew(0, cores, f"reading: {cores} threads, {together:,.0f} pictures/s (one alone {alone:,.0f})")


def rate(read, threads, seconds):
    """Pictures a second that so many threads read together, for at least one picture each."""
    counts, errors = [0] * threads, []
    began = time.perf_counter()

    def work(k):
        try:
            while not errors and (counts[k] == 0 or time.perf_counter() - began < seconds):
                read(k + threads * counts[k])
                counts[k] += 1
        except Exception as error:
            errors.append(error)

    crew = [threading.Thread(target=work, args=(k,)) for k in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    if errors:
        raise errors[0]
    return sum(counts) / (time.perf_counter() - began)


def of_stream(stream, pictures):
    """`choose` for a pipeline.Stream that will give so many pictures."""
    first = stream.share_of(0)
    size = len(first["index"])

    def read(i):
        step, row = divmod(i, size)
        stream.example(row, stream.share_of(step) if step else first)

    return choose(read, pictures)
