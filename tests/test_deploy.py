"""What `deploy/` holds agrees with the programs that it starts; nothing here is built, nor sent to a cluster."""

import argparse
import asyncio
import io
import json
import re
import runpy
import shlex
import sys
import tomllib
import types
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from jaxcls.cli import predict as predict_verb
from jaxcls.cli.arguments import Parser

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


def documents(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def objects():
    """kind -> object, of all manifests."""
    return {document["kind"]: document for path in MANIFESTS for document in documents(path)}


def entrypoint():
    """The words that the image starts with."""
    (found,) = re.findall(r"^ENTRYPOINT (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.M)
    return json.loads(found)


def parsed(verb, words):
    parser = Parser()
    verb.arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_kubernetes_takes_the_manifests(path):
    validate = pytest.importorskip("kubernetes_validate")
    for document in documents(path):
        validate.validate(document, "1.34", strict=True)


def test_the_image_and_the_pods_start_what_there_is():
    pytest.importorskip("fastapi")
    from jaxcls.cli import serve

    start = entrypoint()
    assert start[:4] == ["python", "-m", "jaxcls", "serve"]
    (pod,) = objects()["Deployment"]["spec"]["template"]["spec"]["containers"]
    args = parsed(serve, [*start[4:], *pod["args"]])
    assert (args.host, args.port, args.run) == ("0.0.0.0", 8000, ["/models/model.onnx"])
    assert [port["containerPort"] for port in pod["ports"]] == [args.port]
    routes = (ROOT / "jaxcls/serve/routes.py").read_text()
    text = (DEPLOY / "Dockerfile").read_text()
    paths = {pod[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    for path in (*paths, "/metrics", re.search(r"8000(/\w+)'", text)[1]):
        assert f'"{path}"' in routes


def test_parts_of_the_job_are_all_parts(monkeypatch):
    job = objects()["Job"]["spec"]
    (pod,) = job["template"]["spec"]["containers"]
    assert pod["command"] == ["sh", "-c"]
    shards = []
    for index in range(job["completions"]):
        command = pod["args"][0].replace("$((JOB_COMPLETION_INDEX + 1))", str(index + 1))
        words = shlex.split(command.replace("$JOB_COMPLETION_INDEX", str(index)))
        assert words[:5] == ["exec", "python", "-m", "jaxcls", "predict"]
        args = parsed(predict_verb, words[5:])
        assert args.resume and args.out == Path(f"/answers/{index}.jsonl")
        predict_verb.check(argparse.Namespace(**vars(args)))
        shards.append(str(args.shard))
    assert shards == [f"{i}/8" for i in range(1, 9)]


def test_pods_run_without_rights_and_with_limits():
    for kind in ("Deployment", "Job"):
        pod = objects()[kind]["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] and pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.search(
        rf"^USER {objects()['Deployment']['spec']['template']['spec']['securityContext']['runAsUser']}:", text, re.M
    )


def test_the_autoscaler_asks_for_a_metric_that_the_service_tells():
    from jaxcls.serve.metrics import Metrics

    (metric,) = objects()["HorizontalPodAutoscaler"]["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert re.search(rf"^{name} 0$", Metrics(["digits"]).text(), re.M)
    (rule,) = documents(DEPLOY / "prometheus-adapter.yaml")[0]["rules"]["custom"]
    assert rule["seriesQuery"].startswith(f"{name}{{") and re.fullmatch(rule["name"]["matches"], name)


def test_the_image_has_what_a_file_and_the_service_need_and_no_jax():
    installed = re.search(r"--target=/packages \\\n(.*)\n", (DEPLOY / "Dockerfile").read_text())[1].split()
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["serve"]
    named = {re.match(r"[\w-]+", requirement)[0] for requirement in extra} - {"starlette", "pydantic"}  # fastapi's own
    assert set(installed) == {"numpy", "pillow", "simplejpeg", "onnxruntime", *named}


def test_kserve_is_given_a_triton_repository_by_the_open_protocol():
    (service,) = documents(DEPLOY / "kserve.yaml")
    model = service["spec"]["predictor"]["model"]
    assert service["kind"] == "InferenceService" and model["modelFormat"] == {"name": "triton"}
    assert model["protocolVersion"] == "v2" and model["storageUri"].endswith("/triton")


def test_ray_serve_answers_as_the_predictor_does(tmp_path, monkeypatch):
    """With a stand-in for Ray, which is not needed to see what a replica does."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    import jaxcls
    from jaxcls.export import subject
    from jaxcls.export.float_file import float_model

    network = subject.of_model("lenet5", classes=4, size=28, note=lambda line: None).network
    (tmp_path / "net.onnx").write_bytes(float_model(network).SerializeToString())

    def deployment(**options):
        assert options["max_queued_requests"] > 0

        def decorate(found):
            found.bind = classmethod(lambda cls, *arguments: cls(*arguments))
            return found

        return decorate

    serve = types.SimpleNamespace(deployment=deployment)
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(serve=serve))
    monkeypatch.setenv("MODEL", str(tmp_path / "net.onnx"))
    replica = runpy.run_path(str(DEPLOY / "ray_serve.py"))["app"]
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28)).astype(np.uint8)).save(out, "png")

    def post(content):
        async def body():
            return content

        return asyncio.run(replica(types.SimpleNamespace(body=body)))

    predictor = jaxcls.load(tmp_path / "net.onnx")
    assert post(out.getvalue()) == predictor(predictor.prepare(out.getvalue())[None])[0]
    assert list(post(b"no picture")) == ["error"]
