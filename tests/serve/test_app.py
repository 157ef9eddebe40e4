"""What the routes answer: pictures in every form, each for itself; health, models, headers, logs, counters."""

import asyncio
import base64
import json
import sys

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("onnxruntime")
httpx = pytest.importorskip("httpx")

from serve_http import Gated, client, net, picture  # noqa: E402

from jaxcls.serve.settings import Settings  # noqa: E402

FORM, PART = "multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="f"'


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return net(tmp_path_factory.mktemp("app"))


@pytest.fixture(scope="module")
def expected(path):
    """Of picture(0), picture(1): what the predictor says, without a service."""
    import numpy as np

    from jaxcls.runtime.predictor import FilePredictor

    predictor = FilePredictor.load(path)
    return predictor(np.stack([predictor.prepare(picture(seed)) for seed in range(2)]), 3)


@pytest.fixture(scope="module")
def ask(path):
    """(method, address, options of httpx) -> what a service answers, that all tests of this file share."""
    with asyncio.Runner() as runner:
        service = client(path)
        asks, _ = runner.run(service.__aenter__())
        yield lambda *args, **options: runner.run(asks.request(*args, **options))
        runner.run(service.__aexit__(None, None, None))


def run(body, path, settings=None, **options):
    async def main():
        async with client(path, settings, **options) as (asks, registry):
            return await body(asks, registry)

    return asyncio.run(main())


def same(answer, row):
    assert answer["class"] == row["class"] and answer["set"] == row["set"] and answer["outlier"] == row["outlier"]
    assert answer["probability"] == pytest.approx(row["probability"], abs=1e-6)
    assert [best["class"] for best in answer["top"]] == [best["class"] for best in row["top"]]
    assert [b["probability"] for b in answer["top"]] == pytest.approx([b["probability"] for b in row["top"]], abs=1e-6)


def test_every_form_of_a_request_gives_what_the_predictor_says(ask, expected):
    files = [("images", ("a.png", picture(0))), ("images", ("b.png", picture(1)))]
    encoded = [base64.b64encode(picture(seed)).decode() for seed in range(2)]
    encoded[1] = f"data:image/png;base64,{encoded[1]}"
    form = ask("POST", "/predict", files=files)
    text = ask("POST", "/predict", json={"images": encoded})
    kinds = ("image/png", "application/octet-stream", "application/x-www-form-urlencoded", "")  # curl's is the third
    raw = [ask("POST", "/predict", content=picture(0), headers={"Content-Type": kind}) for kind in kinds]
    for response in (form, text):
        assert response.status_code == 200
        told = response.json()
        assert (told["model"], told["step"]) == ("net", 7) and told["version"].startswith("7-")
        for answer, row in zip(told["answers"], expected, strict=True):
            same(answer, row)
    for response in raw:
        assert response.status_code == 200, response.text
        same(response.json()["answers"][0], expected[0])


def test_a_broken_picture_fails_alone(path, expected):
    async def body(asks, registry):
        del registry
        files = [("f", ("a", picture(0))), ("f", ("b", b"\x89PNG\r\n\x1a\nbroken")), ("f", ("c", picture(1)))]
        some = await asks.post("/predict", files=files)
        none = await asks.post("/predict", files=files[1:2])
        address = await asks.post("/predict", json={"images": ["http://localhost/picture.png"]})
        return some, none, address, (await asks.get("/metrics")).text

    some, none, address, counters = run(body, path)
    answers = some.json()["answers"]
    assert some.status_code == 200
    same(answers[0], expected[0])
    same(answers[2], expected[1])
    assert list(answers[1]) == ["error"] and answers[1]["error"].startswith("picture 2: ")
    assert none.status_code == 422 and none.json()["error"] == none.json()["answers"][0]["error"]
    assert address.status_code == 422 and "not fetched" in address.json()["error"]
    assert (
        'jaxcls_errors_total{kind="picture"} 3\n' in counters and 'jaxcls_pictures_total{model="net"} 2\n' in counters
    )


@pytest.mark.parametrize(
    "query, body, status, word",
    [
        ("?top=1", {}, 200, None),
        ("", {"top": 1}, 200, None),
        ("?top=1", {"top": 3}, 200, None),
        ("?model=other", {}, 404, "no model"),
        ("", {"model": "../../etc/passwd"}, 404, "no model"),
        ("?top=0", {}, 422, "top"),
        ("?top=x", {}, 422, "top"),
        ("", {"top": -1}, 422, "top"),
        ("?top=1", {"top": -1}, 422, "top"),
        ("", {"top": [1]}, 422, "top"),
        ("", {"top": 1.0, "model": None, "heatmap": False}, 200, None),
        ("?top=1&heatmap=", {"heatmap": None}, 200, None),
        ("", {"heatmap": []}, 422, "heatmap"),
        ("", {"model": 0}, 422, "model"),
        ("", {"heatmap": "perhaps"}, 422, "heatmap"),
        ("", {"model": 7}, 422, "model"),
        ("?heatmap=true", {}, 422, "no heat maps"),
    ],
)
def test_options_come_in_the_address_or_with_the_pictures(ask, query, body, status, word):
    content = {"images": [base64.b64encode(picture()).decode()], **body}
    response = ask("POST", f"/predict{query}", json=content)
    assert response.status_code == status, response.text
    if word is None:
        assert len(response.json()["answers"][0]["top"]) == 1
    else:
        assert list(response.json()) == ["error"] and word in response.json()["error"]


@pytest.mark.parametrize(
    "kind, content, status",
    [
        ("application/json", b"{", 400),
        ("application/json", b"[" * 100_000, 400),
        ("application/json", b'{"images": "x"}', 400),
        ("application/json", b'{"images": [1]}', 400),
        ("application/json", b'{"images": []}', 400),
        ("application/json", b"\xff\xfe", 400),
        ("multipart/form-data", b"x", 400),
        (FORM, b"--b\r\n", 400),
        (FORM, b"no form at all", 400),
        (FORM, PART + b'; filename="a.png"\r\n\r\n' + picture()[:50], 400),  # cut off
        (FORM, PART + b"\r\n\r\nx\r\n--b--\r\n", 400),
        (FORM, (PART + b'; filename="a.png"\r\n\r\nx\r\n') * 65 + b"--b--\r\n", 413),
        (FORM, (PART + b"\r\n\r\n\r\n") * 100 + b"--b--\r\n", 413),
        ("application/json", b'{"images": [' + b'"",' * 99 + b'""]}', 413),
        ("image/png", b"", 400),
        ("image/png", b"x", 422),
        ("text/plain", picture(), 415),
        ("multipart/mixed; boundary=b", b"", 415),
    ],
)  # fmt: skip
def test_bodies_that_make_no_sense(ask, kind, content, status):
    response = ask("POST", "/predict", content=content, headers={"Content-Type": kind})
    assert response.status_code == status, response.text
    assert response.json()["error"] and "\n" not in response.json()["error"]


def test_a_picture_too_large_and_a_model_at_fault(path):
    made = []

    def gated(predictor):
        made.append(Gated(predictor))
        return made[0]

    async def body(asks, registry):
        del registry
        files = [("f", ("a", picture(0))), ("f", ("b", picture(1, (200, 100))))]
        some = await asks.post("/predict", files=files)
        large = await asks.post("/predict", files=files[1:])
        made[0].fault = ValueError("at /secret/place")
        return some, large, await asks.post("/predict", files=files[:1])

    some, large, fault = run(body, path, Settings(max_pixels=10_000), change=gated)
    assert some.status_code == 200 and "100 x 200 pixels" in some.json()["answers"][1]["error"]
    assert [large.status_code, fault.status_code] == [413, 500]
    assert fault.json()["error"] == "picture: the model failed on it"


def test_an_answer_has_its_time(path):
    made = []

    def gated(predictor):
        made.append(Gated(predictor))
        return made[0]

    async def body(asks, registry):
        made[0].gate.clear()
        late = await asks.post("/predict", files=[("f", ("a", picture(0))), ("f", ("b", b"broken"))])
        made[0].gate.set()
        return late, registry.load()["net"]["held"]

    late, held = run(body, path, Settings(timeout=0.2), change=gated)
    assert late.status_code == 504 and "0.2 s" in late.json()["answers"][0]["error"] and held == 0


def test_a_busy_service_says_when_to_come_back_and_one_who_leaves_is_not_answered(path):
    made = []

    def gated(predictor):
        made.append(Gated(predictor))
        return made[0]

    async def body(asks, registry):
        gate = made[0]
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

    full, queue, done, asked, held = run(body, path, Settings(queue=3, max_pictures=3), change=gated, queue=3)
    assert full.status_code == 503 and int(full.headers["Retry-After"]) >= 1
    assert "jaxcls_queue_pictures 3\n" in queue
    assert [response.status_code for response in done[:2]] == [200, 200] and isinstance(done[2], asyncio.CancelledError)
    assert asked == 2 and held == 0


def test_one_who_leaves_frees_the_place_of_the_picture(path):
    """As servers do it: the application is told, and not cancelled."""
    made = []

    def gated(predictor):
        made.append(Gated(predictor))
        return made[0]

    async def body(asks, registry):
        made[0].gate.clear()
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
        await asyncio.to_thread(made[0].entered.wait, 10)
        left.set()
        await asyncio.wait_for(task, 5)
        held = registry.load()["net"]["held"]
        made[0].gate.set()
        return sent, held, (await asks.get("/metrics")).text

    sent, held, counters = run(body, path, change=gated)
    assert held == 0 and [m["status"] for m in sent if "status" in m] == [499]
    assert 'jaxcls_errors_total{kind="gone"} 1\n' in counters


def test_health_models_and_counters_are_what_they_say(path, ask):
    parser = pytest.importorskip("prometheus_client.parser")

    async def body(asks, registry):
        del registry
        await asks.post("/predict", content=picture())
        return {
            place: await asks.get(place) for place in ("/healthz", "/readyz", "/models", "/metrics", "/openapi.json")
        }

    found = run(body, path)
    assert all(response.status_code == 200 for response in found.values())
    (model,) = found["/models"].json()["models"]
    assert model["classes"] == ["cat", "dog", "owl"] and model["ready"] and model["name"] == "net"
    families = {each.name: each for each in parser.text_string_to_metric_families(found["/metrics"].text)}
    values = {(s.name, *s.labels.values()): s.value for each in families.values() for s in each.samples}
    assert values["jaxcls_requests_total", "predict", "200"] == 1
    assert values["jaxcls_request_seconds_count", "predict"] == 1
    assert values["jaxcls_request_seconds_bucket", "predict", "+Inf"] == 1
    assert families["jaxcls_model_info"].samples[0].labels["version"] == model["version"]
    document = found["/openapi.json"].json()
    examples = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["examples"]

    assert ask("POST", "/predict", json=examples["one"]["value"]).status_code == 200


def test_no_answer_has_a_path_of_the_server_and_all_have_the_headers(path, ask, capsys):
    hostile = ["/etc/passwd", "../../x.png", "a\r\nX: y.png", "<script>.png", "\x1b[31m.png", "x" * 5000]

    found = [ask("POST", "/predict", files=[("f", (name, b"no picture"))]) for name in hostile]
    found += [ask("POST", "/predict", params={"model": name}, content=picture()) for name in hostile]
    places = ("/models", "/about", "/nothing", "/static/../app.py", "/static/%2e%2e/app.py", "/metrics")
    found += [ask("GET", place) for place in places]
    found += [ask("PUT", "/predict"), ask("GET", "/predict", headers={"X-Request-ID": "mine-1"})]
    for response in found:
        assert not any(secret in response.text for secret in (str(path), str(path.parent), sys.prefix))
        assert response.headers["x-content-type-options"] == "nosniff" and response.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
    assert found[-1].headers["x-request-id"] == "mine-1" and found[-2].status_code == 405
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert len(requests) == len(found) - 1  # but that of /metrics
    assert requests[-1]["id"] == "mine-1" and len({line["id"] for line in requests}) == len(requests)
    assert not any("no picture" in json.dumps(line) for line in requests)


def test_a_fault_of_the_service_is_told_to_its_log_alone(path, capsys, monkeypatch):
    from jaxcls.serve import routes

    def fails(*_):
        raise ZeroDivisionError("at /secret/place")

    monkeypatch.setattr(routes.bodies, "pictures", fails)

    async def body(asks, registry):
        del registry
        return await asks.post("/predict", content=picture())

    response = run(body, path)
    assert response.status_code == 500 and "secret" not in response.text
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert any(line["event"] == "bug" and "ZeroDivisionError" in line["traceback"] for line in lines)


def test_a_run_has_heat_maps(tmp_path):
    """The PNG of each picture is what the predictor draws for the class that was answered."""
    import io

    import numpy as np
    from fake_served import save_step
    from PIL import Image

    from jaxcls.serve.artefacts import open_model

    save_step(tmp_path / "run", 1)
    files = [("f", ("a", picture(0))), ("f", ("b", b"broken"))]

    async def body(asks, registry):
        del registry
        return await asks.post("/predict", params={"heatmap": "true"}, files=files)

    response = run(body, tmp_path / "run", Settings(timeout=120))
    first, second = response.json()["answers"]
    assert response.status_code == 200 and response.json()["step"] == 1 and list(second) == ["error"]
    kind, _, data = first["heatmap"].partition(",")
    assert kind == "data:image/png;base64"
    served = open_model(str(tmp_path / "run"))
    drawn = served.heatmap(served.prepare(picture(0)), first["class"])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), drawn)
