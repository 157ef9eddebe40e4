"""Models by name: opened, warmed up, asked by several, and what can't be opened or warmed up."""

import asyncio
import time

import onnx_files
import pytest
from fake_served import PLAN, READING, level, put, running

from jaxcls.errors import UserError
from jaxcls.serve import choosing
from jaxcls.serve.batching import Full, Late
from jaxcls.serve.registry import NotReady, Registry, Unknown


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


@pytest.mark.parametrize("kind", ["twice", "twice by name", "missing", "damaged", "no name"])
def test_what_can_not_be_opened_is_a_line_before_anything_starts(kind, tmp_path):
    files = [str(onnx_files.model(tmp_path / f"{n}.onnx", onnx_files.told())) for n in range(2)]
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
