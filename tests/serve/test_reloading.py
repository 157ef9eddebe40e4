"""Newer versions are taken up, and no request is lost or answered by two of them."""

import asyncio
import gc
import io
import os
import shutil
import weakref

import numpy as np
import onnx_files
import pytest
from fake_served import PLAN, READING, put, running, save_step, until
from PIL import Image

from jaxcls.errors import UserError
from jaxcls.serve import choosing
from jaxcls.serve.artefacts import open_model
from jaxcls.serve.registry import Registry

POLL = 0.01


def png(seed=0, size=(40, 30)):
    file = io.BytesIO()
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize("plan", [PLAN, READING])
def test_every_answer_is_of_exactly_one_version_and_none_is_lost(fakes, plan, monkeypatch):
    """40 clients with several pictures each, while 20 versions follow each other."""

    monkeypatch.setattr(choosing, "choose", lambda opened, share: (opened, plan))

    async def client(found, seen, stop):
        count = 0
        while not stop.is_set():
            with found.lease(pictures=3) as lease:
                first = await lease.answer(b"\x01")
                rows = [first, *await asyncio.gather(lease.answer(b"\x02"), lease.answer(b"\x03"))]
                assert [row["class"] for row in rows] == [1, 2, 3]
                assert {row["by"] for row in rows} == {lease.served.version}
                seen.add(lease.served.version)
                count += 1
        return count

    async def main():
        lines = []
        async with running([put(fakes, "0", seconds=0.001)], poll=POLL, queue=1000, note=lines.append) as found:
            stop, seen = asyncio.Event(), set()
            clients = [asyncio.create_task(client(found, seen, stop)) for _ in range(40)]
            for version in range(1, 21):
                put(fakes, str(version), seconds=0.001)
                await until(lambda version=version: found.get().version == str(version) and str(version) in seen)
            stop.set()
            counts = await asyncio.gather(*clients)
            await until(lambda: found.load()["fake"]["held"] == 0)
            return seen, counts, found.load()["fake"], lines

    seen, counts, load, lines = asyncio.run(main())
    assert seen == set(map(str, range(21))) and min(counts) > 0
    assert load["taken_up"] == 20 and load["refused"] == 0 and load["waiting"] == 0
    assert lines[-1] == "fake: version 20 in the place of 19"


def test_what_is_in_flight_ends_on_the_old_version_which_then_goes(fakes):
    async def main():
        model = put(fakes, "old").predictor
        gone = weakref.ref(model)
        found = Registry(list(fakes.values()), poll=POLL, note=lambda line: None)
        await found.start()
        await until(lambda: found.ready)
        model.gate.clear()
        with found.lease() as lease:
            row = asyncio.create_task(lease.answer(b"\x01"))
            await asyncio.to_thread(model.entered.wait, 10)
            put(fakes, "new")
            await until(lambda: found.get().version == "new")
            with found.lease() as newer:
                assert (await newer.answer(b"\x01"))["by"] == "new"
            assert found.load()["fake"]["held"] == 1
            again = asyncio.create_task(lease.answer(b"\x02"))  # of the same request, so of the same version
            model.gate.set()
            assert (await row)["by"] == (await again)["by"] == "old"
        del model, lease, row, again
        await until(lambda: gc.collect() >= 0 and gone() is None, seconds=90)  # a collection of a whole suite is slow
        await found.stop()

    asyncio.run(main())


def test_what_is_damaged_is_told_once_and_the_old_version_stays(fakes):
    async def main():
        lines, told = [], []
        path = "/somewhere/fake.onnx"
        tell = lambda *news: told.append(news)  # noqa: E731
        async with running([put(fakes, "1")], poll=POLL, note=lines.append, reloaded=tell) as found:
            lines.clear()
            fakes[path] = UserError(f"{path} is damaged")
            await until(lambda: lines)
            await asyncio.sleep(10 * POLL)
            assert lines == [f"fake: what is new there can't be used, version 1 stays: {path} is damaged"]
            with found.lease() as lease:
                assert (await lease.answer(b"\x01"))["by"] == "1"
            assert found.load()["fake"]["refused"] == 1
            put(fakes, "2")
            await until(lambda: found.get().version == "2")
            fakes[path] = MemoryError()
            await until(lambda: len(lines) == 3)
            assert lines[2].endswith("version 2 stays: MemoryError")
            assert told == [("fake", lines[0]), ("fake", ""), ("fake", lines[2])]

    asyncio.run(main())


def test_what_is_new_but_can_not_answer_stays_out(fakes, monkeypatch):
    async def main():
        lines = []
        async with running([put(fakes, "1")], poll=POLL, note=lines.append) as found:
            monkeypatch.setattr(choosing, "warm", lambda *_: (_ for _ in ()).throw(ValueError("nothing finite")))
            put(fakes, "2")
            await until(lambda: len(lines) == 2)
            assert found.get().version == "1" and "nothing finite" in lines[1]

    asyncio.run(main())


def test_the_same_version_with_another_time_is_no_news(fakes):
    async def main():
        lines = []
        async with running([put(fakes, "1")], poll=POLL, note=lines.append) as found:
            old = found.get()
            put(fakes, "1")
            await asyncio.sleep(10 * POLL)
            assert found.get() is old and len(lines) == 1

    asyncio.run(main())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("registry")
    paths = [
        onnx_files.model(root / f"{n}.onnx", onnx_files.told(), kernel=onnx_files.weights(seed=n)) for n in range(2)
    ]
    return [str(path) for path in paths]


def test_a_file_that_is_replaced(files, tmp_path):
    """Answers are those of `jaxcls predict` of the one file, then of the other; a half-written one is passed over."""
    path = tmp_path / "net.onnx"
    shutil.copy(files[0], path)
    data = [png(seed) for seed in range(5)]
    expected = []
    for file in files:
        opened = open_model(file)
        expected.append(opened.answer(np.stack([opened.prepare(d) for d in data]), 3))

    def same(rows, wanted):
        for row, other in zip(rows, wanted, strict=True):
            assert row["class"] == other["class"] and abs(row["probability"] - other["probability"]) < 1e-6
            assert row["set"] == other["set"] and row["outlier"] == other["outlier"]

    async def asked(found):
        with found.lease("net", pictures=5) as lease:
            return await asyncio.gather(*(lease.answer(d, top=3) for d in data))

    async def main():
        lines = []
        found = Registry.open([f"net={path}"], poll=POLL, note=lines.append)
        await found.start()
        await until(lambda: found.ready)
        same(await asked(found), expected[0])
        path.write_bytes(path.read_bytes()[:-100])
        await until(lambda: len(lines) == 2)
        same(await asked(found), expected[0])
        shutil.copy(files[1], tmp_path / "next")
        os.replace(tmp_path / "next", path)
        await until(lambda: len(lines) == 3)
        same(await asked(found), expected[1])
        await found.stop()
        return lines

    lines = asyncio.run(main())
    assert "can't be used" in lines[1] and "in the place of" in lines[2]


def test_a_better_checkpoint_of_a_run(tmp_path):
    workdir = tmp_path / "run"
    save_step(workdir, 0)

    async def main():
        lines = []
        found = Registry.open([str(workdir)], poll=0.1, note=lines.append)
        await found.start()
        await until(lambda: found.ready)
        with found.lease(pictures=1) as lease:
            first = await lease.answer(png())
        await asyncio.to_thread(save_step, workdir, 5, scale=1.5)
        await until(lambda: found.get().step == 5)
        with found.lease(pictures=1) as lease:
            second, picture = await lease.answer(png()), await lease.prepare(png())
        await found.stop()
        return lines, first, second, picture

    lines, first, second, picture = asyncio.run(main())
    assert len(lines) == 2 and first["probability"] != second["probability"]
    expected = open_model(workdir).answer(picture[None])[0]
    assert abs(second["probability"] - expected["probability"]) < 1e-6 and second["class"] == expected["class"]


def rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_memory_is_flat_over_100000_pictures(tmp_path):
    """A file for pictures as small as digits; also with a version that is replaced ten times."""
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("needs /proc")
    path = tmp_path / "digits.onnx"
    made = onnx_files.model(path, onnx_files.told(), shape=("batch", 16, 16, 3))
    data = [png(seed, (8, 8)) for seed in range(20)]

    async def some(found, count):
        for _ in range(count // 100):
            with found.lease(pictures=100) as lease:
                await asyncio.gather(*(lease.answer(data[i % 20], top=3) for i in range(100)))

    async def main():
        found = Registry.open([str(path)], poll=0.05, note=lambda line: None)
        await found.start()
        await until(lambda: found.ready)
        await some(found, 10_000)
        before = rss()
        for _ in range(10):
            kernel = onnx_files.weights(seed=found.load()["digits"]["taken_up"] + 10)
            onnx_files.model(tmp_path / "next", onnx_files.told(), kernel=kernel)
            os.replace(tmp_path / "next", made)
            await some(found, 10_000)
        await until(lambda: found.load()["digits"]["taken_up"] == 10)
        after = rss()
        await found.stop()
        return before, after

    before, after = asyncio.run(main())
    print(f"RSS {before / 2**20:.1f} -> {after / 2**20:.1f} MiB")
    assert after - before < 10 * 2**20
