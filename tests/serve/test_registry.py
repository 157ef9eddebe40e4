"""Models by name; newer versions are taken up, and no request is lost or answered by two of them."""

import asyncio
import contextlib
import gc
import io
import itertools
import os
import shutil
import time
import weakref

import numpy as np
import onnx_files
import pytest
from fake_served import PLAN, READING, Fake, level, save_step, served
from PIL import Image

from jaxcls.errors import UserError
from jaxcls.serve import artefacts, choosing
from jaxcls.serve.artefacts import open_model
from jaxcls.serve.batching import Full, Late
from jaxcls.serve.registry import NotReady, Registry, Unknown

POLL = 0.01
NUMBERS = itertools.count()


@pytest.fixture
def fakes(monkeypatch):
    """Path -> what lies there: what `artefacts` and `choosing` find of models that need no files."""
    there = {}

    def find(path, name="", device="", threads=None):
        if isinstance(found := there[path], Exception):
            raise found
        return found

    monkeypatch.setattr(artefacts, "open_model", find)
    monkeypatch.setattr(artefacts, "stamp", lambda path: getattr(there[path], "stamp", ((path, str(there[path])),)))
    monkeypatch.setattr(choosing, "choose", lambda opened, share: (opened, PLAN))
    return there


def put(fakes, version="1", name="fake", seconds=0.0):
    """A version at the place of a model, with a stamp of its own."""
    path = f"/somewhere/{name}.onnx"
    fakes[path] = made = served(Fake(version, seconds), name, version, ((path, next(NUMBERS), 0, 0),))
    return made


@contextlib.asynccontextmanager
async def running(models, **settings):
    found = Registry(models, **{"poll": 0, "note": lambda line: None} | settings)
    await found.start()
    try:
        await asyncio.wait_for(found.settled.wait(), 20)
        yield found
    finally:
        await found.stop()


async def until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.002)


def png(seed=0, size=(40, 30)):
    file = io.BytesIO()
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def test_names_and_descriptions(fakes):
    async def main():
        models = [put(fakes, name="a"), put(fakes, name="b", version="2")]
        found = Registry(models)
        assert not found.ready and found.names() == ("a", "b")
        with pytest.raises(NotReady), found.lease("a"):
            pass
        async with running(models) as found:
            assert found.get().name == "a" and found.get("b").version == "2"
            told = found.describe()
            assert [(row["name"], row["version"], row["ready"], row["plan"]) for row in told] == [
                ("a", "1", True, "a plan"), ("b", "2", True, "a plan"),
            ]  # fmt: skip
            assert told[0]["data"] == "x" and told[0]["notes"] == ["of x"]
            with found.lease("b") as lease:
                row = await lease.answer(b"\x07", top=2)
                assert row == {"class": 7, "top": [0, 1], "by": "2"} and lease.served.name == "b"
            for name in ("c", "A"):
                with pytest.raises(Unknown, match="there is no model"), found.lease(name):
                    pass

    asyncio.run(main())


@pytest.mark.parametrize("plan", [PLAN, READING])
def test_a_broken_picture_fails_alone(fakes, plan, monkeypatch):
    monkeypatch.setattr(choosing, "choose", lambda opened, share: (opened, plan))

    async def main():
        async with running([put(fakes)]) as found:
            with found.lease(pictures=4) as lease:
                data = {"a": b"\x01", "b": b"broken", "c": b"\x02", "d": b"\x03"}
                asked = (lease.answer(data[name], name, check=check) for name in data)
                return await asyncio.gather(*asked, return_exceptions=True)

    def check(data, name):
        if data == b"\x03":
            raise PermissionError(name)

    rows = asyncio.run(main())
    assert isinstance(rows.pop(), PermissionError)
    assert [row["class"] for row in rows[::2]] == [1, 2]
    assert isinstance(rows[1], UserError) and str(rows[1]) == "b: is no picture"


def test_places_are_given_before_pictures_are_read(fakes):
    async def main():
        async with running([put(fakes)], queue=4) as found:
            with found.lease(pictures=3):
                with pytest.raises(Full), found.lease(pictures=2):
                    pass
                with found.lease():
                    assert found.load()["fake"]["held"] == 4
            assert found.load() == {
                "fake": {"held": 0, "waiting": 0, "bound": 4, "workers": 2, "taken_up": 0, "refused": 0}
            }

    asyncio.run(main())


@pytest.mark.parametrize("plan", [PLAN, READING])
def test_reading_has_a_deadline(fakes, plan, monkeypatch):
    monkeypatch.setattr(choosing, "choose", lambda opened, share: (opened, plan))

    async def main():
        made = put(fakes)
        slow = lambda image, name="": time.sleep(0.2) or level(1)  # noqa: E731
        made.predictor.prepare = slow
        async with running([made]) as found:
            with found.lease() as lease:
                begun = time.monotonic()
                with pytest.raises(Late):
                    await lease.answer(b"", deadline=begun + 0.02)
                assert (await lease.answer(b"", deadline=begun + 20))["class"] == 1

    asyncio.run(main())


def test_a_model_that_can_not_be_warmed_up_is_told_and_nothing_begun_after_it(fakes, monkeypatch):
    def choose(opened, share):
        if opened.name == "bad":
            raise RuntimeError("out of\nmemory")
        return opened, PLAN

    async def main():
        monkeypatch.setattr(choosing, "choose", choose)
        lines = []
        models = [put(fakes, name=name) for name in ("good", "bad", "next")]
        async with running(models, note=lines.append) as found:
            assert not found.ready and found.problem == "bad can't be warmed up: out of memory"
            assert [line.partition(":")[0] for line in lines] == ["good"]  # the line is whoever's who asks for it
            with found.lease("good") as lease:
                assert (await lease.answer(b"\x03"))["class"] == 3
            for name in ("bad", "next"):
                with pytest.raises(NotReady), found.lease(name):
                    pass

    asyncio.run(main())


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
        await until(lambda: gc.collect() >= 0 and gone() is None)
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


def test_stopping_answers_what_is_queued(fakes):
    async def main():
        async with running([put(fakes, seconds=0.01)]) as found:
            with found.lease(pictures=30) as lease:
                tasks = [asyncio.create_task(lease.submit(level(x))) for x in range(30)]
                await asyncio.sleep(0)
                await found.stop()
                assert all(task.done() for task in tasks) or await asyncio.wait(tasks, timeout=1)
                assert [task.result()["class"] for task in tasks] == list(range(30))

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


@pytest.mark.parametrize("kind", ["twice", "twice by name", "missing", "damaged", "no name"])
def test_what_can_not_be_opened_is_a_line_before_anything_starts(kind, files, tmp_path):
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    given = {
        "twice": [files[0], files[0]],
        "twice by name": [f"a={files[0]}", f"a={files[1]}"],
        "missing": [files[0], str(tmp_path / "none")],
        "damaged": [files[0], str(tmp_path / "noise.onnx")],
        "no name": ["="],
    }[kind]
    with pytest.raises(UserError) as caught:
        Registry.open(given)
    assert "\n" not in str(caught.value)


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
