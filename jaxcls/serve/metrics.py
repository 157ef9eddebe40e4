"""Counters of a service in Prometheus' text form (https://prometheus.io/docs/instrumenting/exposition_formats).

They lie in memory that all processes share, a row of doubles for each: a worker writes into its own row alone, and
whichever answers GET /metrics tells the sums. A worker that is started again goes on in its row.
"""

import bisect
import mmap
import os
import threading
from collections.abc import Iterator, Sequence

from jaxcls.errors import UserError

ROUTES = ("predict", "infer", "feedback", "other")
STATUS = (200, 204, 304, 307, 400, 401, 403, 404, 405, 408, 413, 415, 422, 499, 500, 503, 504, 507)
KINDS = {  # of errors, by status
    400: "bad_request", 401: "key", 403: "origin", 404: "not_found", 405: "not_found", 408: "slow",
    413: "too_large", 415: "bad_request", 422: "bad_request", 499: "gone", 500: "bug", 503: "full", 504: "timeout",
    507: "full",
}  # fmt: skip
ERRORS = ("picture", *dict.fromkeys(KINDS.values()))  # "picture": one that can't be read
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROW = 4096  # cells of a process
BATCHES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
Series = tuple[str, str]  # name, labels as they are printed
_ABOUT = {  # name -> type, help
    "jaxcls_requests_total": ("counter", "Requests by route and status; 499: the client left."),
    "jaxcls_errors_total": ("counter", "Errors by kind; picture: one that can't be read, in whatever request."),
    "jaxcls_pictures_total": ("counter", "Pictures that were answered."),
    "jaxcls_reloads_total": ("counter", "Newer versions that a worker has taken up, or refused."),
    "jaxcls_worker_restarts_total": ("counter", "Workers that died and were started again."),
    "jaxcls_queue_pictures": ("gauge", "Pictures that were taken on and are not answered."),
    "jaxcls_request_seconds": ("histogram", "Time of requests that were answered with 200."),
    "jaxcls_batch_size": ("histogram", "Pictures that were computed together."),
    "jaxcls_model_info": ("gauge", "The models and their versions, of the worker that answers."),
}


def _cells(models):
    """All series in the order of their cells: those of every service first."""
    for route in ROUTES:
        for status in STATUS:
            yield "jaxcls_requests_total", f'route="{route}",status="{status}"'
    for kind in ERRORS:
        yield "jaxcls_errors_total", f'kind="{kind}"'
    yield "jaxcls_worker_restarts_total", ""
    yield "jaxcls_queue_pictures", ""
    for route in ("predict", "infer"):
        yield from _histogram("jaxcls_request_seconds", f'route="{route}",', SECONDS)
    yield from _histogram("jaxcls_batch_size", "", BATCHES)
    for model in models:
        yield "jaxcls_pictures_total", f'model="{escaped(model)}"'
    for model in models:
        for result in ("taken_up", "refused"):
            yield "jaxcls_reloads_total", f'model="{escaped(model)}",result="{result}"'


def _histogram(name, labels, bounds):
    yield from ((f"{name}_bucket", f'{labels}le="{bound}"') for bound in _words(bounds))
    yield f"{name}_sum", labels.rstrip(",")
    yield f"{name}_count", labels.rstrip(",")


def _words(bounds):
    return [*(f"{bound:g}" for bound in bounds), "+Inf"]


def escaped(text: str) -> str:
    """A text as the value of a label."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Metrics:
    """The counters of one process, and the sums of all.

    Args:
      models: their names.
      memory: a file descriptor of `shared`; None for memory of this process alone.
      rows: processes that share it.
      row: of this process, from 0. Its gauges begin anew.
    """

    def __init__(self, models: Sequence[str] = (), memory: int | None = None, rows: int = 1, row: int = 0):
        self._place = {series: i for i, series in enumerate(_cells(models))}
        if len(self._place) > ROW:
            raise UserError(f"{len(models):,} models are too many for one service; serve them by several")
        block = mmap.mmap(-1 if memory is None else memory, 8 * ROW * rows)
        self._values, self._rows, self._start = memoryview(block).cast("d"), rows, row * ROW
        self._values[self._start + self._place["jaxcls_queue_pictures", ""]] = 0.0
        self._lock = threading.Lock()

    def _add(self, name: str, labels: str = "", n: float = 1) -> None:
        place = self._start + self._place[name, labels]
        with self._lock:
            self._values[place] += n

    def request(self, route: str, status: int, seconds: float) -> None:
        """One request has ended."""
        status = status if status in STATUS else 500 if status > 500 else 400 if status >= 400 else 200
        self._add("jaxcls_requests_total", f'route="{route}",status="{status}"')
        if status in KINDS:
            self._add("jaxcls_errors_total", f'kind="{KINDS[status]}"')
        if status == 200 and route in ("predict", "infer"):
            self._observe("jaxcls_request_seconds", f'route="{route}",', SECONDS, seconds)

    def batch(self, size: int) -> None:
        """So many pictures were computed together."""
        self._observe("jaxcls_batch_size", "", BATCHES, size)

    def pictures(self, model: str, answered: int, broken: int) -> None:
        """So many pictures of a request were answered and could not be read."""
        self._add("jaxcls_pictures_total", f'model="{escaped(model)}"', answered)
        self._add("jaxcls_errors_total", 'kind="picture"', broken)

    def queue(self, more: float) -> None:
        """So many more pictures are waited for; fewer, where it is negative."""
        self._add("jaxcls_queue_pictures", n=more)

    def reloaded(self, model: str, taken_up: bool) -> None:
        """A newer version of a model was taken up, or refused."""
        result = "taken_up" if taken_up else "refused"
        self._add("jaxcls_reloads_total", f'model="{escaped(model)}",result="{result}"')

    def restarted(self) -> None:
        """A worker was started again."""
        self._add("jaxcls_worker_restarts_total")

    def _observe(self, name, labels, bounds, value):
        bound = _words(bounds)[bisect.bisect_left(bounds, value)]  # `text` adds those below
        self._add(f"{name}_bucket", f'{labels}le="{bound}"')
        self._add(f"{name}_sum", labels.rstrip(","), value)
        self._add(f"{name}_count", labels.rstrip(","))

    def text(self, versions: Sequence[tuple[str, str, str]] = ()) -> str:
        """All of it as Prometheus reads it; `versions`: (model, version, backend) of each model."""
        return "\n".join((*self._lines(versions), ""))

    def _lines(self, versions) -> Iterator[str]:
        told, below = "", 0.0
        for (name, labels), i in self._place.items():
            family = name if name in _ABOUT else name.rpartition("_")[0]
            if family != told:
                told = family
                yield from _head(family)
            value = sum(self._values[i + row * ROW] for row in range(self._rows))
            if name.endswith("_bucket"):
                value = below = below + value
            else:
                below = 0.0
            if name == "jaxcls_requests_total" and not value and "200" not in labels:
                continue  # most pairs of route and status never come
            yield f"{name}{{{labels}}} {value:.15g}" if labels else f"{name} {value:.15g}"
        yield from _head("jaxcls_model_info")
        for model, version, backend in versions:
            labels = f'model="{escaped(model)}",version="{escaped(version)}",backend="{escaped(backend)}"'
            yield f"jaxcls_model_info{{{labels}}} 1"


def _head(family):
    kind, text = _ABOUT[family]
    yield f"# HELP {family} {text}"
    yield f"# TYPE {family} {kind}"


def shared(rows: int) -> int:
    """A file descriptor of memory for so many processes, which they inherit."""
    descriptor = os.memfd_create("jaxcls-metrics")
    os.ftruncate(descriptor, 8 * ROW * rows)
    return descriptor


def route(path: str) -> str:
    """What a path is counted as."""
    last = path.rstrip("/").rpartition("/")[2]
    return last if last in ROUTES[:-1] else ROUTES[-1]
