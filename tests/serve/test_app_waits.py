"""Pictures that are too large, wait too long, meet a model at fault or a busy one, and clients that leave."""

import asyncio

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("onnxruntime")
pytest.importorskip("httpx")

from serve_http import Gated, picture, run

from jaxcls.serve.settings import Settings


def test_a_picture_too_large_and_a_model_at_fault(path):
    gate = Gated()

    async def body(asks, registry):
        del registry
        files = [("f", ("a", picture(0))), ("f", ("b", picture(1, (200, 100))))]
        some = await asks.post("/predict", files=files)
        large = await asks.post("/predict", files=files[1:])
        gate.fault = ValueError("at /secret/place")
        return some, large, await asks.post("/predict", files=files[:1])

    some, large, fault = run(body, path, Settings(max_pixels=10_000), change=gate.of)
    assert some.status_code == 200 and "100 x 200 pixels" in some.json()["answers"][1]["error"]
    assert [large.status_code, fault.status_code] == [413, 500]
    assert fault.json()["error"] == "picture: the model failed on it"


def test_an_answer_has_its_time(path):
    gate = Gated()

    async def body(asks, registry):
        gate.gate.clear()
        late = await asks.post("/predict", files=[("f", ("a", picture(0))), ("f", ("b", b"broken"))])
        gate.gate.set()
        return late, registry.load()["net"]["held"]

    late, held = run(body, path, Settings(timeout=0.2), change=gate.of)
    assert late.status_code == 504 and "0.2 s" in late.json()["answers"][0]["error"] and held == 0


def test_a_busy_service_says_when_to_come_back_and_one_who_leaves_is_not_answered(path):
    gate = Gated()

    async def body(asks, registry):
        gate.gate.clear()
        waits = [asyncio.create_task(asks.post("/predict", content=picture()))]
        await asyncio.to_thread(gate.entered.wait, 10)
        waits += [asyncio.create_task(asks.post("/predict", content=picture())) for _ in range(2)]
        while registry.load()["net"]["held"] < 3:
            await asyncio.sleep(0.002)
        full = await asks.post("/predict", content=picture())
        queue = (await asks.get("/metrics")).text
        waits[2].cancel()
        while registry.load()["net"]["held"] > 2:
            await asyncio.sleep(0.002)
        gate.gate.set()
        done = await asyncio.gather(*waits, return_exceptions=True)
        return full, queue, done, gate.asked, registry.load()["net"]["held"]

    full, queue, done, asked, held = run(body, path, Settings(queue=3, max_pictures=3), change=gate.of, queue=3)
    assert full.status_code == 503 and int(full.headers["Retry-After"]) >= 1
    assert "jaxcls_queue_pictures 3\n" in queue
    assert [response.status_code for response in done[:2]] == [200, 200] and isinstance(done[2], asyncio.CancelledError)
    assert asked == 2 and held == 0


def test_one_who_leaves_frees_the_place_of_the_picture(path):
    """As servers do it: the application is told, and not cancelled."""
    gate = Gated()

    async def body(asks, registry):
        gate.gate.clear()
        application = asks._transport.app
        messages = [{"type": "http.request", "body": picture(), "more_body": False}]
        left = asyncio.Event()

        async def receive():
            if messages:
                return messages.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        sent = []

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": "/predict", "raw_path": b"/predict", "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-type", b"image/png")], "http_version": "1.1",
            "scheme": "http", "server": ("localhost", 80), "client": ("127.0.0.1", 1), "root_path": "",
        }  # fmt: skip
        task = asyncio.create_task(application(scope, receive, send))
        await asyncio.to_thread(gate.entered.wait, 10)
        left.set()
        await asyncio.wait_for(task, 5)
        held = registry.load()["net"]["held"]
        gate.gate.set()
        return sent, held, (await asks.get("/metrics")).text

    sent, held, counters = run(body, path, change=gate.of)
    assert held == 0 and [m["status"] for m in sent if "status" in m] == [499]
    assert 'jaxcls_errors_total{kind="gone"} 1\n' in counters
