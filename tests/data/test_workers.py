"""The choice of threads or processes, on readers whose behaviour is known."""

import threading
import time

import numpy as np
import pytest

from jaxcls import augment
from jaxcls.data import pipeline, workers
from jaxcls.data.sources import Synthetic
from jaxcls.errors import UserError

LOCK = threading.Lock()


def waits(_):
    """As decoding does, it lets go of the interpreter's lock: threads help."""
    time.sleep(0.01)


def blocks(_):
    """As slow Python code does, it lets one thread at a time do its work."""
    with LOCK:
        time.sleep(0.005)


def test_threads_are_chosen_where_they_spread():
    chosen = workers.choose(waits, 10**9, cores=4, seconds=0.1, reference=waits)
    assert (chosen.processes, chosen.threads) == (0, 4)
    assert chosen.why.startswith("reading: 4 threads, ") and "pictures/s (one alone " in chosen.why


def test_processes_are_chosen_where_threads_wait_for_each_other_and_the_run_is_long():
    chosen = workers.choose(blocks, 10**7, cores=4, seconds=0.1, reference=waits)
    assert (chosen.processes, chosen.threads) == (4, 1) and chosen.why.startswith(
        "reading: 4 processes, since 4 threads"
    )
    assert (
        workers.choose(blocks, workers.SMALL, cores=4, seconds=0.1, reference=waits).processes == 0
    )  # 25 s: not worth their start


def test_busy_cores_are_no_reason_for_processes():
    """Where work without a lock gains no more from threads either, processes would not."""
    chosen = workers.choose(blocks, 10**7, cores=4, seconds=0.1, reference=blocks)
    assert chosen.processes == 0 and chosen.why.startswith("reading: ")


def test_a_small_set_and_a_single_core_are_not_measured():
    def never(_):
        raise AssertionError

    assert workers.choose(never, workers.SMALL - 1, cores=4) == workers.Workers(0, 4)
    assert workers.choose(never, 10**9, cores=1) == workers.Workers(0, 1)


def test_a_bad_picture_does_not_end_the_run_before_it_is_its_turn():
    def refuses(_):
        raise UserError("a/1.jpg: damaged")

    assert workers.choose(refuses, 10**9, cores=2, seconds=0.1) == workers.Workers(0, 2)


def test_an_error_of_the_program_is_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        workers.choose(lambda _: 1 / 0, 10**9, cores=2, seconds=0.1)


def test_each_thread_reads_pictures_of_its_own():
    rows = []
    workers.rate(lambda i: (rows.append(i), time.sleep(0.001)), 3, 0.05)
    assert len(set(rows)) == len(rows) >= 3


def test_a_stream_is_measured_on_pictures_of_its_own_share():
    def rows(step):
        return pipeline.train_rows(step, n=64, batch_size=8, seed=0)

    source, names = Synthetic(64, (8, 8, 3), 2, seed=0), []

    def transform(image, name, random):
        names.append(name)
        time.sleep(0.02)
        return image

    stream = pipeline.Stream(source, transform, rows, share=slice(0, 4))
    assert workers.of_stream(stream, 10**9).threads == pipeline.default_threads()
    mine = [f"synthetic_{row}" for step in range(8) for row in rows(step)["index"][:4]]
    assert set(names) <= {*mine} | {f"synthetic_{row}" for step in range(8, 80) for row in rows(step)["index"][:4]}


def test_the_choice_never_changes_a_batch():
    calls, _ = augment.split_list(("random_resized_crop(8)",), encoded=True)

    def rows(step):
        return pipeline.train_rows(step, n=64, batch_size=8, seed=0)

    source, transform = Synthetic(64, (16, 16, 3), 2, seed=0), augment.host_transform(calls, channels=3)
    streams = [pipeline.Stream(source, transform, rows, threads=n) for n in (1, 8)]
    for a, b in zip(*(s.batches(0, 20) for s in streams), strict=True):
        assert all(np.array_equal(a[k], b[k]) for k in a)
