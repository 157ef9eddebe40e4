"""Batches of what has arrived, and nobody's fault is another's."""

import asyncio
import gc
import time
import tracemalloc

import pytest
from fake_served import NAN, POISON, Fake, level

from jaxcls.serve.batching import Batcher, Failed, Full, Late


def ask(model, levels, top=5, **settings):
    """Rows or exceptions of pictures that arrive at once."""

    async def main():
        batcher = Batcher(model, **settings)
        try:
            return await asyncio.gather(*(batcher.submit(level(x), top) for x in levels), return_exceptions=True)
        finally:
            batcher.close()
            assert batcher.join(10)

    return asyncio.run(main())


def held(batcher, model, levels):
    """Tasks of pictures, the first one with the worker, which waits for the gate, the others in the queue."""
    model.gate.clear()

    async def main():
        first = asyncio.create_task(batcher.submit(level(levels[0])))
        await asyncio.to_thread(model.entered.wait, 10)
        rest = [asyncio.create_task(batcher.submit(level(x))) for x in levels[1:]]
        await asyncio.sleep(0)
        return [first, *rest]

    return main()


@pytest.mark.parametrize("workers, most", [(1, 1), (1, 4), (3, 1), (3, 4)])
def test_every_picture_gets_its_own_row(workers, most):
    model = Fake(seconds=0.001)
    rows = ask(model, range(60), workers=workers, take=lambda n: min(n, most))
    assert [row["class"] for row in rows] == list(range(60))
    assert sorted(x for batch in model.batches for x in batch) == list(range(60))
    assert max(map(len, model.batches)) <= most


def test_an_idle_model_answers_at_once_and_a_busy_one_takes_what_has_arrived():
    model = Fake()

    async def main():
        batcher = Batcher(model, take=lambda n: min(n, 4))
        tasks = await held(batcher, model, range(7))
        assert (batcher.waiting, batcher.held) == (6, 0)
        model.gate.set()
        await asyncio.gather(*tasks)
        await batcher.submit(level(9))
        batcher.close()

    asyncio.run(main())
    assert model.batches == [[0], [1, 2, 3, 4], [5, 6], [9]]


def test_idle_workers_share_what_waits():
    """Of two workers that are idle when eight pictures arrive, neither takes all."""
    model = Fake()

    async def main():
        batcher = Batcher(model, workers=2, take=lambda n: n)
        while batcher._idle < 2:
            await asyncio.sleep(0.001)
        with batcher._change:  # no worker can look before all are there: it is the lock that `submit` takes again
            model.gate.clear()  # and none has answered before both have taken theirs
            tasks = [asyncio.create_task(batcher.submit(level(x))) for x in range(8)]
            await asyncio.sleep(0)
        end = time.monotonic() + 10
        while batcher._idle and time.monotonic() < end:
            await asyncio.sleep(0.001)
        model.gate.set()
        await asyncio.gather(*tasks)
        batcher.close()

    asyncio.run(main())
    assert sorted(map(len, model.batches)) == [4, 4]


def test_each_has_its_own_top():
    async def main():
        model = Fake()
        batcher = Batcher(model, take=lambda n: n)
        tasks = await held(batcher, model, [0])
        more = [asyncio.create_task(batcher.submit(level(x), top=x)) for x in (1, 3, 2)]
        await asyncio.sleep(0)
        model.gate.set()
        rows = await asyncio.gather(*tasks, *more)
        batcher.close()
        return model.batches, [len(row["top"]) for row in rows]

    assert asyncio.run(main()) == ([[0], [1, 3, 2]], [5, 1, 3, 2])


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_belongs_to_its_own_picture(workers):
    levels = [1, 2, POISON, 3, NAN, POISON, 4]
    rows = ask(Fake(seconds=0.001), levels, workers=workers, take=lambda n: min(n, 4))
    for x, row in zip(levels, rows, strict=True):
        if x == POISON:
            assert isinstance(row, Failed) and isinstance(row.__cause__, ValueError)
        else:
            assert row == {"error": "not finite"} if x == NAN else row["class"] == x


def test_a_worker_may_prepare_pictures_and_a_broken_one_fails_alone():
    def broken():
        raise ZeroDivisionError

    async def main():
        model = Fake()
        batcher = Batcher(model, take=lambda n: n)
        tasks = await held(batcher, model, [0])
        more = [
            batcher.submit(x) for x in (lambda: level(1), broken, level(2), lambda: level(POISON), lambda: level(3))
        ]
        more = [asyncio.create_task(one) for one in more]
        await asyncio.sleep(0)
        model.gate.set()
        rows = await asyncio.gather(*tasks, *more, return_exceptions=True)
        batcher.close()
        return rows

    rows = asyncio.run(main())
    assert [row["class"] if isinstance(row, dict) else type(row) for row in rows] == [
        0, 1, ZeroDivisionError, 2, Failed, 3,
    ]  # fmt: skip


def test_a_model_that_loses_rows_answers_nobody_wrongly():
    rows = ask(lambda images, top: [{"class": 1}] * (len(images) - 1), range(3), take=lambda n: n)
    assert all(isinstance(row, Failed) for row in rows)


def test_who_is_cancelled_leaves_the_queue():
    model = Fake()

    async def main():
        batcher = Batcher(model, take=lambda n: min(n, 2))
        tasks = await held(batcher, model, range(6))
        for i in (0, 2, 3):
            tasks[i].cancel()
        await asyncio.sleep(0)
        assert batcher.waiting == 3
        model.gate.set()
        rows = await asyncio.gather(*tasks, return_exceptions=True)
        batcher.close()
        return rows

    rows = asyncio.run(main())
    assert [isinstance(row, asyncio.CancelledError) for row in rows] == [True, False, True, True, False, False]
    assert [row["class"] for row in rows if isinstance(row, dict)] == [1, 4, 5]
    assert model.batches == [[0], [1, 4], [5]]


def test_what_is_late_is_told_in_time_and_never_computed():
    model = Fake()

    async def main():
        batcher = Batcher(model)
        tasks = await held(batcher, model, [0])
        for ahead in (0.05, -1):
            with pytest.raises(Late):
                await batcher.submit(level(1), deadline=time.monotonic() + ahead)
        assert batcher.waiting == 0
        on_time = asyncio.create_task(batcher.submit(level(2), deadline=time.monotonic() + 20))
        await asyncio.sleep(0)
        model.gate.set()
        await asyncio.gather(*tasks, on_time)
        batcher.close()

    asyncio.run(main())
    assert model.batches == [[0], [2]]


def test_what_is_late_while_it_is_computed_is_told_in_time_too():
    async def main():
        model = Fake()
        batcher = Batcher(model)
        model.gate.clear()
        with pytest.raises(Late):
            await batcher.submit(level(1), deadline=time.monotonic() + 0.05)
        model.gate.set()
        assert (await batcher.submit(level(2)))["class"] == 2  # the worker goes on
        batcher.close()

    asyncio.run(main())


def test_full():
    async def main():
        batcher = Batcher(Fake(), bound=3)
        with batcher.places(2):
            with pytest.raises(Full) as caught, batcher.places(2):
                pass
            assert caught.value.retry_after >= 1
            with batcher.places():
                assert batcher.held == 3
            assert batcher.held == 2
        assert batcher.held == 0
        batcher.close()

    asyncio.run(main())


def test_retry_after_is_how_long_the_queue_takes():
    """Pictures of 0.05 s: 100 that are ahead of two workers take 2.5 s."""

    async def main():
        batcher = Batcher(Fake(seconds=0.05), bound=100, workers=2)
        await asyncio.gather(*(batcher.submit(level(1)) for _ in range(4)))
        with batcher.places(100), pytest.raises(Full) as caught, batcher.places():
            pass
        batcher.close()
        return caught.value.retry_after

    assert 3 <= asyncio.run(main()) <= 20


def test_closing_answers_what_is_queued():
    async def main():
        model = Fake()
        batcher = Batcher(model, workers=2)
        tasks = await held(batcher, model, range(5))
        batcher.close()
        with pytest.raises(RuntimeError):
            await batcher.submit(level(1))
        assert not batcher.join(0.01)
        model.gate.set()
        rows = await asyncio.gather(*tasks)
        assert await asyncio.to_thread(batcher.join, 10)
        return [row["class"] for row in rows]

    assert asyncio.run(main()) == [0, 1, 2, 3, 4]


def test_an_observer_is_told_and_can_not_end_a_worker():
    seen = []

    def observe(size, seconds):
        seen.append(size)
        raise OSError("full disk")

    rows = ask(Fake(seconds=0.01), range(3), take=lambda n: n, observe=observe)
    assert [row["class"] for row in rows] == [0, 1, 2] and sum(seen) == 3


def test_a_loop_that_has_ended_does_not_end_a_worker():
    model = Fake()
    batcher = Batcher(model)

    async def leave():
        await held(batcher, model, [0])

    asyncio.run(leave())
    model.gate.set()

    async def again():
        return await batcher.submit(level(1))

    assert asyncio.run(again())["class"] == 1
    batcher.close()


def test_memory_is_flat():
    """Of pictures, answers, exceptions and cancelled ones nothing stays."""
    model = Fake()

    async def main():
        batcher = Batcher(model, workers=2, take=lambda n: min(n, 8))

        async def some(count):
            for _ in range(count // 50):
                tasks = [asyncio.create_task(batcher.submit(level(x))) for x in (*range(46), POISON, NAN, 1, 2)]
                await asyncio.sleep(0)
                tasks[-1].cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            model.batches.clear()

        await some(500)
        tracemalloc.start()
        try:
            await some(500)
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            await some(3000)
            gc.collect()
            return tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
            batcher.close()

    assert asyncio.run(main()) < 50_000  # bytes; 16 a picture would be as much
