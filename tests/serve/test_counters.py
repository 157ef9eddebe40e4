"""Counters that processes and threads share."""

import threading

from jaxcls.serve.metrics import Metrics, shared


def test_workers_count_into_one_sum():
    memory = shared(3)
    rows = [Metrics(("a", "b"), memory, 3, row) for row in range(2)]
    for count, each in enumerate(rows, 1):
        each.request("predict", 200, 0.02)
        each.queue(count)
        each.batch(4)
        each.pictures("b", 3, 0)
        each.reloaded("b", taken_up=count == 1)
    Metrics((), memory, 3, 2).restarted()
    again = Metrics(("a", "b"), memory, 3, 1)  # a worker that was started anew
    text = again.text()
    for line in ('jaxcls_requests_total{route="predict",status="200"} 2', "jaxcls_batch_size_sum 8",
                 'jaxcls_pictures_total{model="b"} 6',
                 'jaxcls_reloads_total{model="b",result="refused"} 1', "jaxcls_worker_restarts_total 1",
                 "jaxcls_queue_pictures 1",
                 'jaxcls_request_seconds_bucket{route="predict",le="0.025"} 2',
                 'jaxcls_request_seconds_bucket{route="predict",le="0.01"} 0'):  # fmt: skip
        assert f"\n{line}\n" in text
    assert rows[0].text() == text


def test_counts_of_threads_are_not_lost():
    found = Metrics(("a",))
    threads = [threading.Thread(target=lambda: [found.batch(1) for _ in range(2000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "jaxcls_batch_size_count 8000\n" in found.text()
