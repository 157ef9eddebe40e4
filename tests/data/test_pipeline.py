"""Which examples make up a batch, and streams that read them: functions of the seed and the step alone."""

import numpy as np
import pytest
from fixtures.streams import Encoded, Rows
from hypothesis import example, given
from hypothesis import strategies as st

from jaxcls import augment
from jaxcls.data import pipeline
from jaxcls.data.base import ArraySource
from jaxcls.errors import UserError

SIZES = st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))


def stream(source, *, batch_size=4, seed=3, **options):
    calls, _ = augment.split_list(("random_resized_crop(8)",), encoded=True)
    return pipeline.Stream(
        source, augment.host_transform(calls, channels=3), Rows(len(source), batch_size, seed), seed=seed, **options
    )


def assert_batches_equal(a, b):
    assert sorted(a) == sorted(b) == ["draw", "epoch", "image", "index", "label"]
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])


@given(SIZES, st.integers(0, 2**31), st.integers(0, 5))
def test_an_epoch_is_a_permutation_without_its_tail(sizes, seed, epoch):
    n, batch_size = sizes
    steps = n // batch_size
    rows = [pipeline.train_rows(epoch * steps + s, n=n, batch_size=batch_size, seed=seed) for s in range(steps)]
    index = np.concatenate([row["index"] for row in rows])
    np.testing.assert_array_equal(index, pipeline.order(seed, epoch, n)[: steps * batch_size])
    assert len(set(index.tolist())) == len(index) == steps * batch_size
    assert index.min() >= 0 and index.max() < n
    assert all(np.all(row["epoch"] == epoch) for row in rows)
    np.testing.assert_array_equal(np.concatenate([row["draw"] for row in rows]), np.arange(steps * batch_size))
    assert {row[k].dtype for row in rows for k in row} == {np.dtype(np.int32)}


def test_a_batch_depends_on_seed_and_step_only():
    numbers = {"n": 50, "batch_size": 8}
    forward = [pipeline.train_rows(s, **numbers, seed=1) for s in range(30)]
    pipeline.order.cache_clear()
    for s in reversed(range(30)):
        for key, value in pipeline.train_rows(s, **numbers, seed=1).items():
            np.testing.assert_array_equal(value, forward[s][key])
    assert np.any(pipeline.train_rows(0, **numbers, seed=2)["index"] != forward[0]["index"])


def test_epochs_differ_and_each_drops_another_tail():
    orders = [pipeline.order(0, epoch, 100) for epoch in range(4)]
    assert len({order.tobytes() for order in orders}) == 4
    assert len({frozenset(order[96:].tolist()) for order in orders}) == 4
    assert all(sorted(order) == list(range(100)) for order in orders)


@given(st.integers(1, 60), st.integers(1, 20))
def test_evaluation_counts_each_example_once(n, batch_size):
    rows = [pipeline.eval_rows(s, n=n, batch_size=batch_size) for s in range(-(-n // batch_size))]
    index, mask = (np.concatenate([row[k] for row in rows]) for k in ("index", "mask"))
    assert len(index) % batch_size == 0 and index.max() < n
    np.testing.assert_array_equal(index[mask > 0], np.arange(n))
    assert set(mask.tolist()) <= {0.0, 1.0}


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=3), st.lists(st.integers(0, 2**40), min_size=1, max_size=3))
@example([1], [1, 0])
@example([3, 0], [3, 0, 0])  # the order of an epoch, and the crop of its first draw
def test_generators_of_different_numbers_differ(a, b):
    same = pipeline.generator(*a).random(2) == pipeline.generator(*b).random(2)
    assert np.all(same) if a == b else not np.any(same)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_gives_the_batches_of_its_steps_in_order(workers):
    """Eleven pictures, four a batch: two steps an epoch, so this crosses from the second epoch to the fourth."""
    source = stream(Encoded(), workers=workers, threads=2)
    seen = list(source.batches(3, 8))
    assert len(seen) == 5
    for step, batch in enumerate(seen, 3):
        assert_batches_equal(batch, source(step))
        assert batch["image"].shape == (4, 8, 8, 3) and batch["image"].dtype == np.uint8
        assert np.all(batch["label"] == batch["index"] % 2) and np.all(batch["epoch"] == step // 2)


def test_a_stream_without_an_end_can_be_left():
    batches = stream(Encoded(), threads=2).batches(0, 2**31 - 1)
    next(batches)
    batches.close()
    assert list(batches) == []


def test_a_crop_depends_on_seed_epoch_and_draw_only():
    pictures = Encoded()
    one, two = stream(pictures, batch_size=4), stream(pictures, batch_size=2)
    whole = one(1)
    halves = [two(step) for step in (2, 3)]
    np.testing.assert_array_equal(whole["image"], np.concatenate([h["image"] for h in halves]))
    other = stream(pictures, seed=4)
    row, image = 0, whole["image"][0]
    epochs = [one(1 + 2 * e) for e in range(8)]
    again = [b["image"][i] for b in epochs[1:] for i in range(4) if b["index"][i] == whole["index"][row]]
    assert again and all(np.any(x != image) for x in again)  # the same picture is cropped elsewhere in another epoch
    assert np.any(other(1)["image"] != whole["image"])


def test_the_shares_of_two_processes_make_up_the_batch():
    pictures = Encoded()
    whole = stream(pictures)(1)
    shares = [stream(pictures, share=share)(1) for share in (slice(0, 2), slice(2, 4))]
    assert_batches_equal({k: np.concatenate([s[k] for s in shares]) for k in whole}, whole)


def test_a_stream_and_the_device_see_the_same_rows():
    images = np.random.default_rng(0).integers(0, 256, (11, 5, 5, 1), dtype=np.uint8)
    source = ArraySource(images, np.arange(11) % 3, ("a", "b", "c"), [str(i) for i in range(11)])
    identity = augment.host_transform([], channels=1)
    streamed = pipeline.Stream(source, identity, Rows(11, 4, 3))(2)
    row = pipeline.train_rows(2, n=11, batch_size=4, seed=3)
    assert_batches_equal(streamed, pipeline.lookup({"image": source.images, "label": source.labels}, row))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_picture_is_one_line_that_names_it(workers):
    with pytest.raises(UserError) as caught:
        list(stream(Encoded(broken=(5,)), workers=workers, threads=2).batches(0, 4))
    assert "cat/5.png" in str(caught.value) and "\n" not in str(caught.value)


def test_pictures_of_different_sizes_are_an_error_with_its_remedy():
    untouched = augment.host_transform([], channels=3)
    with pytest.raises(UserError, match="differ in size .* 'random_resized_crop\\(224\\)'"):
        pipeline.Stream(Encoded(), untouched, Rows(11, 4, 3))(0)
