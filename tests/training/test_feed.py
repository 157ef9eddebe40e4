"""Feeds: the same batches from memory and from a stream, and an evaluation that counts each example exactly once."""

import functools
import threading

import jax
import numpy as np
import pytest
from fixtures.toys import Count

from jaxcls import augment, parallel
from jaxcls.data import pipeline
from jaxcls.data.base import ArraySource
from jaxcls.parallel import Parallel
from jaxcls.tasks.base import Task
from jaxcls.training import collecting
from jaxcls.training.collecting import collect
from jaxcls.training.feed import MemoryEvalFeed, MemoryTrainFeed, StreamEvalFeed, StreamTrainFeed, prefetch
from jaxcls.training.step import make_eval_step

N, BATCH, SEED = 21, 8, 5
WAYS = [("jit", 1), ("jit", 4), ("pmap", 1), ("pmap", 8)]


@functools.cache
def source(n=N):
    images = np.random.default_rng(0).integers(0, 256, (n, 3, 3, 1), dtype=np.uint8)
    return ArraySource(images, np.arange(n) % 3, ("a", "b", "c"), [str(i) for i in range(n)])


def stream(rows):
    return pipeline.Stream(source(), augment.host_transform([], channels=1), rows, seed=SEED, threads=2)


def step(state, batch, axis_name=None):
    """Counts steps, and tells of each batch what no permutation of its rows would leave unnoticed."""
    weight = 1.0 + batch["index"]
    told = {
        "rows": weight.sum(),
        "pictures": (weight[:, None, None, None] * batch["image"]).sum() / 255,
        "labels": (weight * batch["label"]).sum(),
        "draws": (weight * batch["draw"]).sum() + batch["epoch"].sum(),
    }
    told = parallel.psum({k: (v, 1.0) for k, v in told.items()}, axis_name)
    return Count(state.step + 1), told


def expected(s):
    row = pipeline.train_rows(s, n=N, batch_size=BATCH, seed=SEED)
    batch = pipeline.lookup({"image": source().images.astype(np.float32), "label": source().labels}, row)
    return {k: float(v[0]) for k, v in step(Count(0), batch)[1].items()}


def train_feed(kind, over, length=1):
    function = functools.partial(step, axis_name=over.axis_name)
    if kind == "memory":
        return MemoryTrainFeed(function, source(), over, batch_size=BATCH, seed=SEED, length=length)
    rows = functools.partial(pipeline.train_rows, n=N, batch_size=BATCH, seed=SEED)
    return StreamTrainFeed(function, stream(rows), over)


def run(feed, over, start, stop, limit):
    """What each step told, and how many steps each call did; never past the next multiple of `limit`."""
    state, told, calls = over.replicate(Count(np.int32(start))), [], []
    at = start
    while at < stop:
        state, metrics, n = feed(state, at, min(stop, (at // limit + 1) * limit))
        metrics = {k: np.atleast_1d(jax.device_get(v[0])) for k, v in metrics.items()}
        told += [{k: float(v[i]) for k, v in metrics.items()} for i in range(n)]
        calls.append(n)
        at += n
    assert int(state.step) == stop
    feed.close()
    return told, calls


@pytest.mark.parametrize("mode, devices", WAYS)
@pytest.mark.parametrize("kind, length", [("memory", 1), ("memory", 3), ("stream", 1)])
def test_training_sees_the_rows_of_each_step(kind, length, mode, devices):
    over = Parallel(mode, devices)
    told, calls = run(train_feed(kind, over, length), over, start=1, stop=8, limit=5)
    for s, got in enumerate(told, 1):
        assert got == pytest.approx(expected(s), rel=1e-5), s
    assert calls == ([1, 2, 1, 1, 2] if kind == "memory" and length == 3 else [1] * 7)  # an epoch has two steps


def test_a_stream_goes_where_the_step_is():
    over = Parallel("jit", 1)
    feed, state = train_feed("stream", over), over.replicate(Count(np.int32(0)))
    for s in (0, 1, 6, 7, 2):
        state, told, _ = feed(state, s, 100)
        assert {k: float(v[0]) for k, v in told.items()} == pytest.approx(expected(s), rel=1e-5)
    feed.close()
    feed.close()


class Identity(Task):
    """Predicts the pixel sums of a picture."""

    def predict(self, state, batch):
        return {"logits": state["scale"] * batch["image"].astype(np.float32).sum((1, 2))}


@pytest.mark.parametrize("mode, devices", [(mode, n) for mode in ("jit", "pmap") for n in (1, 2, 4, 8)])
@pytest.mark.parametrize("kind", ["memory", "stream"])
def test_evaluation_counts_each_example_exactly_once(kind, mode, devices):
    over = Parallel(mode, devices)
    evaluate = make_eval_step(Identity(), axis_name=over.axis_name)
    if kind == "memory":
        feed = MemoryEvalFeed(evaluate, source(), over, batch_size=BATCH)
    else:
        rows = functools.partial(pipeline.eval_rows, n=N, batch_size=BATCH)
        feed = StreamEvalFeed(evaluate, stream(rows), over, n=N, batch_size=BATCH)
    state = over.replicate({"scale": np.float32(2)})
    for _ in range(2):  # a feed serves many evaluations
        out = feed(state)
        assert sorted(out) == ["index", "label", "logits"]
        np.testing.assert_array_equal(out["index"], np.arange(N))
        np.testing.assert_array_equal(out["label"], source().labels)
        np.testing.assert_allclose(out["logits"], 2.0 * source().images.sum((1, 2)), rtol=1e-6)


@pytest.mark.parametrize("kind", ["memory", "stream"])
def test_further_leaves_of_a_source_reach_the_step(kind):
    box = np.arange(4 * N, dtype=np.float32).reshape(N, 2, 2)
    few = source()
    more, over = ArraySource(few.images, few.labels, few.classes, few.ids, more={"box": box}), Parallel("jit", 2)
    rows = functools.partial(pipeline.train_rows, n=N, batch_size=BATCH, seed=SEED)

    def told(state, batch):
        weight = 1.0 + batch["index"].astype(np.float32)
        return Count(state.step + 1), {"box": ((weight[:, None, None] * batch["box"]).sum(), 1.0)}

    if kind == "memory":
        feed = MemoryTrainFeed(told, more, over, batch_size=BATCH, seed=SEED, length=1)
    else:
        feed = StreamTrainFeed(told, pipeline.Stream(more, augment.host_transform([], channels=1), rows), over)
    got, _ = run(feed, over, start=0, stop=3, limit=5)
    for s, value in enumerate(got):
        index = rows(s)["index"]
        assert value["box"] == pytest.approx(float(((1 + index)[:, None, None] * box[index]).sum()), rel=1e-6)


def test_an_example_seen_twice_or_never_is_refused():
    out = {"index": np.array([0, 1, 2, 3]), "mask": np.array([1.0, 1, 1, 0])}
    np.testing.assert_array_equal(collect([out], 3)["index"], [0, 1, 2])
    for wrong in ([0, 1, 1, 3], [0, 2, 1, 3]):
        with pytest.raises(RuntimeError, match="exactly once"):
            collect([{**out, "index": np.array(wrong)}], 3)
    with pytest.raises(RuntimeError, match="exactly once"):
        collect([out], 4)
    with pytest.raises(RuntimeError, match="exactly once"):
        collect([out, out], 3)
    with pytest.raises(RuntimeError, match="exactly once"):
        collect([], 1)


def batches_of(logits, size):
    """As a compiled step returns them, the last one padded."""
    for start in range(0, len(logits), size):
        rows = np.arange(start, start + size)
        real = rows < len(logits)
        index = np.where(real, rows, 0)
        yield {"logits": logits[index], "label": index % 3, "index": index, "mask": real.astype(np.float32)}


@pytest.mark.parametrize("size", [1, 4, 7, 21, 30])
def test_large_predictions_are_collected_in_a_file_that_leaves_nothing(tmp_path, monkeypatch, size):
    logits = np.random.default_rng(0).normal(size=(21, 5)).astype(np.float32)
    plain = collect(batches_of(logits, size), 21)
    monkeypatch.setattr(collecting, "ON_DISK_FROM", 300)
    stored = collect(batches_of(logits, size), 21, tmp_path / "eval")
    assert isinstance(stored["logits"], np.memmap) and not isinstance(stored["index"], np.memmap)
    assert not list((tmp_path / "eval").iterdir())
    for name in ("logits", "label", "index"):
        np.testing.assert_array_equal(stored[name], plain[name])
    np.testing.assert_array_equal(plain["logits"], logits)
    np.savez(tmp_path / "there.npz", **stored)
    np.testing.assert_array_equal(np.load(tmp_path / "there.npz")["logits"], logits)


def test_prefetching_keeps_the_order_and_closes_what_it_reads():
    closed, put = [], []

    def batches():
        try:
            yield from range(10)
        finally:
            closed.append(True)

    def note(x):
        put.append(x)
        return x

    assert list(prefetch(batches(), note)) == list(range(10)) and closed == [True]
    put.clear()
    ahead = prefetch(batches(), note)
    assert next(ahead) == 0 and put == [0, 1, 2]
    ahead.close()
    assert closed == [True, True]


class Watched:
    """A source that says which rows have been read."""

    def __init__(self, n):
        self.labels, self.classes = np.arange(n, dtype=np.int32) % 3, ("a", "b", "c")
        self.read, self.changed = set(), threading.Condition()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        with self.changed:
            self.read.add(row)
            self.changed.notify_all()
        return {"image": np.zeros((3, 3, 1), np.uint8), "label": int(self.labels[row]), "id": str(row)}


def test_batches_are_read_while_a_step_runs():
    """Each step waits until the batch four ahead of it is being read: if reading waited for steps, none would end."""
    source, over = Watched(200), Parallel("jit", 1)
    rows = functools.partial(pipeline.train_rows, n=200, batch_size=4, seed=SEED)
    identity = augment.host_transform([], channels=1)
    feed = StreamTrainFeed(step, pipeline.Stream(source, identity, rows, threads=1), over)

    def slow(state, batch):
        wanted = set(rows(int(state.step) + 4)["index"].tolist())
        with source.changed:
            assert source.changed.wait_for(lambda: wanted & source.read, timeout=20)
        return Count(state.step + 1), {}

    feed.compiled, state = slow, Count(0)
    for s in range(8):
        state, _, _ = feed(state, s, 100)
    feed.close()
