"""What a plan makes of what waits, and that choosing ends with a model that is warm; never how fast it is."""

import itertools

import numpy as np
import pytest
from fake_served import Fake, save_step, served
from onnx_files import model, told

from jaxcls.serve import choosing
from jaxcls.serve.artefacts import open_model
from jaxcls.serve.choosing import Plan


@pytest.mark.parametrize("seconds", [{1: 1}, {8: 1}, {1: 187, 8: 540}, {1: 1, 8: 1, 32: 1}, {1: 10, 8: 11, 32: 60}])
@pytest.mark.parametrize("waiting", [1, 2, 3, 7, 8, 9, 31, 33, 100])
def test_the_next_batch_costs_least_a_picture(seconds, waiting):
    taken = Plan(1, 0, seconds, "").take(waiting)
    sizes = sorted(seconds)
    padded = lambda n: seconds[next(size for size in sizes if size >= n)]  # noqa: E731
    cost = {n: padded(n) / n for n in range(1, min(waiting, sizes[-1]) + 1)}
    assert cost[taken] == min(cost.values())


def test_xla_on_a_cpu_pads_from_three_pictures_on():
    """The times of a resnet18 at 224: 187 ms a picture, 540 ms for eight."""
    take = Plan(1, 0, {1: 0.187, 8: 0.54}, "").take
    assert [take(n) for n in (1, 2, 3, 8, 9)] == [1, 1, 3, 8, 8]


@pytest.mark.parametrize(
    "quota, share, cores", [("max 100000", 1, 6), ("200000 100000", 1, 2), ("50000 100000", 1, 1), ("max 1", 4, 1)]
)
def test_cores_are_those_that_this_process_may_use(quota, share, cores, monkeypatch, tmp_path):
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(choosing.os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr(choosing, "QUOTA", tmp_path / "cpu.max")
    assert choosing.cores(share) == cores


@pytest.fixture
def clock(monkeypatch):
    """Replaces time: what a net costs is what `Priced` says."""
    now = itertools.count()

    class Clock:
        time = 0.0

        @staticmethod
        def perf_counter():
            next(now)
            return Clock.time

    monkeypatch.setattr(choosing, "time", Clock)
    return Clock


class Priced(Fake):
    """Takes `prices[size]` seconds of the clock for a batch."""

    sizes = range(1, 33)

    def __init__(self, clock, prices):
        super().__init__()
        self.clock, self.prices = clock, prices

    def __call__(self, images, top=5):
        self.clock.time += self.prices[len(images)]
        return super().__call__(images, top)


@pytest.mark.parametrize(
    "prices, sizes",
    [
        ({1: 0.01, 8: 0.078}, [1]),  # eight gain nothing
        ({1: 0.01, 8: 0.04, 32: 0.155}, [1, 8]),
        ({1: 0.01, 8: 0.04, 32: 0.12}, [1, 8, 32]),
        ({1: 0.4, 8: 1.2}, [1, 8]),  # 32 would take five seconds
        ({1: 0.6}, [1]),
    ],
)
def test_a_run_on_a_cpu_has_batches_that_are_worth_it(prices, sizes, clock, monkeypatch):
    monkeypatch.setattr(choosing, "_on_cpu", lambda served: True)
    plan = choosing._sizes(served(Priced(clock, prices)))
    assert (plan.workers, list(plan.seconds)) == (1, sizes) and "pictures a second" in plan.line


def test_a_run_on_an_accelerator_has_all_sizes(clock, monkeypatch):
    monkeypatch.setattr(choosing, "_on_cpu", lambda served: False)
    assert list(choosing._sizes(served(Priced(clock, {1: 1, 8: 9, 32: 40}))).seconds) == [1, 8, 32]


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("prices, batch", [({1: 0.01, 8: 0.078}, 1), ({1: 0.01, 8: 0.05}, 8), ({1: 0.13}, 1)])
def test_a_file_on_a_cpu_has_a_worker_a_core_and_batches_only_where_they_gain(cores, prices, batch, clock, monkeypatch):
    """With this clock no two threads answer at the same time, so several threads for one answer seem to be as good:
    no reason to leave what is usual."""
    asked = served(Priced(clock, prices))
    monkeypatch.setattr(choosing.artefacts, "open_model", lambda *_, **__: asked)
    monkeypatch.setattr(choosing, "cores", lambda share: cores)
    found, plan = choosing.choose(asked)
    assert found is asked and (plan.workers, plan.threads, list(plan.seconds)) == (cores, 1, [batch])


@pytest.mark.parametrize("shape, sizes", [("batch", {1, 8}), (4, {4})])
def test_a_real_file(shape, sizes, tmp_path):
    """Of a fixed batch that one is taken. What was measured is told."""
    path = model(tmp_path / "net.onnx", told(), shape=(shape, 16, 16, 3))
    opened, plan = choosing.choose(open_model(path))
    assert set(plan.seconds) <= sizes and plan.workers * plan.threads == choosing.cores()
    assert "\n" not in plan.line and "/s" in plan.line
    images = np.zeros((3, 16, 16, 3), np.uint8)
    assert opened.answer(images) == open_model(path).answer(images)
    choosing.warm(opened, plan)


def test_a_real_run_compiles_nothing_once_it_is_warm(tmp_path):
    from jax import monitoring

    save_step(tmp_path / "run", 0)
    opened, plan = choosing.choose(open_model(tmp_path / "run"))
    compiled = []
    monitoring.register_event_duration_secs_listener(lambda name, *_, **__: compiled.append(name))
    for n in range(1, max(plan.seconds) + 1):
        opened.answer(np.zeros((plan.take(n), *opened.predictor.picture), np.uint8))
    assert not [name for name in compiled if "compile" in name]
