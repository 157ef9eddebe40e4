"""Which rows make up an epoch: frequencies, repeats, and that every step can be computed by itself."""

import functools
import pickle

import jax
import numpy as np
import pytest
from fixtures.toys import Count
from hypothesis import assume, given
from hypothesis import strategies as st

from jaxcls import augment
from jaxcls.data import pipeline, sampling
from jaxcls.data.base import ArraySource
from jaxcls.data.sampling import RULES, Sampler
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.parallel import Parallel
from jaxcls.training import build
from jaxcls.training.feed import MemoryTrainFeed, StreamTrainFeed

SIZES = (60, 25, 10, 3)  # of the classes
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), SIZES)).astype(np.int32)


def epoch_of(sampler, epoch, seed=7):
    return sampler(seed, epoch, len(sampler))


def steps(sampler, batch_size, numbers, seed=7):
    rows = [pipeline.train_rows(s, n=len(sampler), batch_size=batch_size, seed=seed, order=sampler) for s in numbers]
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


@given(st.integers(1, 50), st.integers(0, 2**31), st.integers(0, 9))
def test_uniform_is_the_permutation_that_it_always_was(n, seed, epoch):
    sampler = Sampler(np.zeros(n, np.int32))
    expected = pipeline.generator(seed, epoch).permutation(n).astype(np.int32)
    np.testing.assert_array_equal(epoch_of(sampler, epoch, seed), expected)
    assert len(sampler) == n
    row = pipeline.train_rows(epoch * n, n=n, batch_size=1, seed=seed)
    assert row["index"] == pipeline.train_rows(epoch * n, n=n, batch_size=1, seed=seed, order=sampler)["index"]


def test_oversampling_draws_each_class_as_often_as_the_largest():
    sampler = Sampler(LABELS, "oversample")
    assert len(sampler) == 4 * 60
    for epoch in range(3):
        order = epoch_of(sampler, epoch)
        assert order.dtype == np.int32 and np.all(np.bincount(LABELS[order]) == 60)
        times = np.bincount(order, minlength=len(LABELS))
        assert [set(times[c == LABELS]) for c in range(4)] == [{1}, {2, 3}, {6}, {20}]


@pytest.mark.parametrize("rule, shares", [("balanced", np.ones(4)), ("sqrt", np.sqrt(SIZES))])
def test_classes_are_drawn_in_their_shares(rule, shares):
    sampler, expected = Sampler(LABELS, rule), 98 * shares / shares.sum()
    assert len(sampler) == len(LABELS) == 98
    orders = [epoch_of(sampler, epoch) for epoch in range(400)]
    counts = np.array([np.bincount(LABELS[order], minlength=4) for order in orders])
    assert np.all(counts.sum(1) == 98) and np.abs(counts - expected).max() < 1
    np.testing.assert_allclose(counts.mean(0), expected, atol=0.1)  # 4 standard errors of rounding up or down
    times = np.array([np.bincount(order, minlength=98) for order in orders])
    for c in range(4):
        own = times[:, c == LABELS]
        assert np.all(own.max(1) - own.min(1) <= 1)
        np.testing.assert_allclose(own.mean(0), own.mean(), atol=0.15)  # no row is preferred


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=12),
    st.integers(1, 200),
    st.sampled_from(RULES[1:]),
    st.integers(0, 2**32),
)
def test_counts_are_whole_add_up_and_are_next_to_their_shares(sizes, n, rule, seed):
    counts = sampling.class_counts(np.random.default_rng(seed), sizes, n, rule)
    shares = np.sqrt(sizes) if rule == "sqrt" else np.ones(len(sizes))
    assert counts.sum() == n and counts.min() >= 0
    assert np.abs(counts - n * shares / shares.sum()).max() < 1 + 1e-9


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("repeats", [1, 3])
def test_a_step_computed_alone_equals_the_sequence(rule, repeats):
    sampler = Sampler(LABELS, rule, repeats=repeats, batch_size=12)
    forward = steps(sampler, 12, range(40))
    sampling._order.cache_clear()
    other = pickle.loads(pickle.dumps(sampler))  # as another process has it
    for s in (39, 3, 17, 0):
        for key, value in steps(other, 12, [s]).items():
            np.testing.assert_array_equal(value[0], forward[key][s])
    again = steps(Sampler(LABELS, rule, repeats=repeats, batch_size=12), 12, range(40), seed=8)
    assert np.any(again["index"] != forward["index"])
    per_epoch = len(sampler) // 12
    firsts = steps(sampler, 12, [epoch * per_epoch for epoch in range(3)])["index"]
    assert len(np.unique(firsts, axis=0)) == 3  # epochs differ


@given(st.integers(1, 8), st.integers(2, 10), st.integers(0, 50), st.integers(0, 2**31))
def test_repeats_stand_in_one_batch_and_neighbours_differ(repeats, different, more, seed):
    batch_size = repeats * different
    n = batch_size + more
    sampler = Sampler(np.zeros(n, np.int32), repeats=repeats, batch_size=batch_size)
    assert len(sampler) == n
    per_epoch = n // batch_size
    rows = steps(sampler, batch_size, range(2 * per_epoch), seed)
    for index in rows["index"]:
        assert set(np.unique(index, return_counts=True)[1]) == {repeats}
        pairs = index[: batch_size // 2 * 2].reshape(-1, 2)
        assert np.all(pairs[:, 0] != pairs[:, 1])
    for epoch in range(2):
        own = slice(epoch * per_epoch, (epoch + 1) * per_epoch)
        assert len(np.unique(rows["index"][own])) == per_epoch * different
        np.testing.assert_array_equal(rows["draw"][own].ravel(), np.arange(per_epoch * batch_size))


def test_mistakes_are_named_with_a_remedy():
    with pytest.raises(UserError, match="config.data.sampling is 'balance'; did you mean 'balanced'?"):
        Sampler(LABELS, "balance")
    with pytest.raises(UserError, match="repeats 3 needs a config.batch_size .* such as 15, not 16"):
        Sampler(LABELS, repeats=3, batch_size=16)
    with pytest.raises(UserError, match="at least two pictures, such as 8, not 4"):
        Sampler(LABELS, repeats=4, batch_size=4)


def source():
    images = np.random.default_rng(1).integers(0, 256, (98, 2, 2, 1), dtype=np.uint8)
    return ArraySource(images, LABELS, tuple("abcd"), [str(i) for i in range(98)])


@pytest.mark.parametrize("rule, repeats", [("oversample", 1), ("balanced", 2)])
def test_feeds_from_memory_and_from_a_stream_see_the_rows_of_the_sampler(rule, repeats):
    def step(state, batch):
        told = {k: ((1.0 + batch["index"]) * batch[k]).sum() for k in ("index", "draw", "label")}
        told["image"] = (batch["index"][:, None, None, None] * batch["image"].astype(np.float32)).sum() / 255
        return Count(state.step + 1), told

    sampler, over = Sampler(LABELS, rule, repeats=repeats, batch_size=8), Parallel("jit", 2)
    rows = functools.partial(pipeline.train_rows, n=len(sampler), batch_size=8, seed=7, order=sampler)
    stream = pipeline.Stream(source(), augment.host_transform([], channels=1), rows, seed=7, threads=2)
    memory = MemoryTrainFeed(step, source(), over, batch_size=8, seed=7, length=2, sampler=sampler)
    start = len(sampler) // 8 - 2  # across the end of an epoch
    state = over.replicate(Count(np.int32(start)))
    told = {k: [] for k in ("index", "draw", "label", "image")}
    for s in (start, start + 2):
        state, metrics, n = memory(state, s, s + 2)
        assert n == 2
        for key, value in jax.device_get(metrics).items():
            told[key].extend(value)
    streamed, state = StreamTrainFeed(step, stream, over), over.replicate(Count(np.int32(0)))
    for i in range(4):
        state, metrics, _ = streamed(state, start + i, start + 4)
        row = rows(start + i)
        weight = 1.0 + row["index"]
        expected = {k: weight @ v for k, v in {**row, "label": LABELS[row["index"]]}.items() if k != "epoch"}
        for key, value in expected.items():
            assert told[key][i] == pytest.approx(value, rel=1e-5)
        for key, value in jax.device_get(metrics).items():
            assert told[key][i] == pytest.approx(float(value), rel=1e-5)
    streamed.close()


def config(**data):
    config = default_config()
    config.data.name, config.data.validation, config.batch_size = "synthetic/96x8x1x3", 0.25, 8
    config.duration = "3 epochs"
    for key, value in data.items():
        config.data[key] = value
    return config


def test_a_config_chooses_the_sampler_and_the_length_of_an_epoch():
    run = build.build(config(imbalance=8.0, sampling="oversample"))
    counts = np.bincount(run.data.sources["train"].labels)
    np.testing.assert_array_equal(counts, [24, 8, 3])
    assert len(run.data.sources["validation"]) == 24 and len(run.data.sources["test"]) == 24
    assert run.training.steps_per_epoch == 3 * 24 // 8 and run.training.total_steps == 27
    plain = build.build(config(repeats=2))
    assert plain.training.steps_per_epoch == 72 // 8
    index = pipeline.train_rows(0, n=72, batch_size=8, seed=0, order=plain.training.sampler)["index"]
    assert len(np.unique(index)) == 4
    with pytest.raises(UserError, match="did you mean 'sqrt'?"):
        build.build(config(sampling="sqr"))
    with pytest.raises(UserError, match="config.data.imbalance is 0.5; it must be at least 1"):
        build.build(config(imbalance=0.5))


def test_repeated_pictures_are_augmented_each_by_itself():
    """The keys of copies differ, since their draws do."""
    from jaxcls.tasks.wrappers import example_keys

    sampler = Sampler(LABELS, repeats=4, batch_size=16)
    row = {k: v[0] for k, v in steps(sampler, 16, [3]).items()}
    keys = jax.random.key_data(jax.jit(lambda row: example_keys(7, row))(row))
    assert len(np.unique(row["index"])) == 4 and len(np.unique(keys, axis=0)) == 16


@given(st.integers(1, 30), st.integers(0, 100), st.integers(0, 2**32))
def test_draws_of_a_class_are_whole_repeats_and_a_rest_without_repetition(n, count, seed):
    assume(count or n)
    rows = np.arange(n) * 3
    drawn = sampling.draw_rows(np.random.default_rng(seed), rows, count)
    times = np.bincount(drawn // 3, minlength=n)
    assert len(drawn) == count and set(times) <= {count // n, count // n + 1}
