"""What a service tells of itself: health, models, counters, headers, logs; and what it does not tell."""

import json
import sys

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("onnxruntime")
pytest.importorskip("httpx")

from serve_http import picture, run


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
