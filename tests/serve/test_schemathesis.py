"""What /openapi.json says is what the service does: schemathesis makes requests of it, valid and invalid ones."""

import asyncio

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("onnxruntime")
pytest.importorskip("httpx")

from hypothesis import HealthCheck, Phase, given, seed, settings
from serve_http import client, net

EXAMPLES = 60  # valid ones of an operation with a body, and as many invalid ones
FEW = 10  # of one without


def narrowed(document, version):
    """The interface with the names that there are: of drawn ones nearly every answer would be 404."""
    there = {"name": "net", "model": "net", "version": version}
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in there:
                    parameter["schema"] = {"type": "string", "enum": [there[parameter["name"]]]}
    return document


@pytest.mark.slow
def test_the_service_does_what_it_says(tmp_path):
    """All checks of schemathesis: no 5xx; statuses, types, headers and schemas of answers are those of the document;
    what the document forbids is refused."""
    schemathesis = pytest.importorskip("schemathesis")  # here, since it takes a second
    requests = pytest.importorskip("requests")
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    seen = {}

    def asked(operation, mode):
        few = operation.method.upper() == "GET"
        # Pictures are drawn as bytes, which no schema can keep from being broken pictures (422), nor data from having
        # another size than their shape says (400), nor forms from asking this file for heat maps (422).
        without = [] if few else [positive_data_acceptance]

        @seed(0)
        @settings(max_examples=FEW if few else EXAMPLES, database=None, deadline=None,
                  suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink])  # fmt: skip
        @given(operation.as_strategy(generation_mode=mode))
        def one(case):
            sent = requests.Request(**case.as_transport_kwargs(base_url="http://localhost")).prepare()
            answer = asks.request(sent.method, sent.url, content=sent.body, headers=dict(sent.headers))
            response = runner.run(answer)
            seen.setdefault(operation.label, set()).add(response.status_code)
            case.validate_response(response, excluded_checks=without)

        return one

    with asyncio.Runner() as runner:
        service = client(net(tmp_path))
        asks, registry = runner.run(service.__aenter__())
        document = narrowed(runner.run(asks.get("/openapi.json")).json(), registry.get().version)
        schema = schemathesis.openapi.from_dict(document, config=schemathesis.Config(seed=0))
        for operation in (found.ok() for found in schema.get_all_operations()):
            asked(operation, schemathesis.GenerationMode.POSITIVE)()
            if operation.body or operation.path_parameters:
                asked(operation, schemathesis.GenerationMode.NEGATIVE)()
        runner.run(service.__aexit__(None, None, None))
    assert {200} < seen["POST /predict"] and {200} < seen["POST /v2/models/{name}/infer"]
    assert len(seen) == sum(map(len, document["paths"].values()))
