"""The open inference protocol: tensors in JSON and in bytes, against the predictor."""

import base64
import json
import struct

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("onnxruntime")
pytest.importorskip("httpx")

from serve_http import picture

from jaxcls.runtime.predictor import FilePredictor
from jaxcls.serve import protocol

PLACE, LENGTH = "/v2/models/net/infer", "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def expected(path):
    """(prepared pictures, what the predictor says of them with all classes)."""
    predictor = FilePredictor.load(path)
    images = np.stack([predictor.prepare(picture(seed)) for seed in range(2)])
    return images, predictor(images, 3), predictor.probabilities(predictor.logits(images))


def tensor(data, kind="UINT8", shape=(2, 16, 16, 3), **more):
    return {"name": "image", "datatype": kind, "shape": list(shape), "data": data, **more}


def check(outputs, expected):
    """`outputs`: name -> values."""
    _, rows, probabilities = expected
    assert outputs["class"] == [row["class"] for row in rows]
    assert outputs["probability"] == pytest.approx([row["probability"] for row in rows], abs=1e-6)
    assert outputs["probabilities"] == pytest.approx(probabilities.ravel().tolist(), abs=1e-6)
    assert outputs["abstained"] == [row["abstained"] for row in rows]
    assert outputs["outlier"] == [row["outlier"] for row in rows]


def of_json(response):
    assert response.status_code == 200, response.text
    return {each["name"]: each["data"] for each in response.json()["outputs"]}


def of_bytes(response):
    """What a client reads of the binary form."""
    assert response.status_code == 200, response.text
    head = int(response.headers[LENGTH])
    told, rest, found = json.loads(response.content[:head]), response.content[head:], {}
    for each in told["outputs"]:
        size = each["parameters"]["binary_data_size"]
        part, rest = rest[:size], rest[size:]
        if each["datatype"] == "BYTES":
            found[each["name"]] = []
            while part:
                (count,) = struct.unpack("<I", part[:4])
                found[each["name"]].append(part[4 : 4 + count].decode())
                part = part[4 + count :]
        else:
            values = np.frombuffer(part, {"FP64": "<f8", "BOOL": "?"}[each["datatype"]])
            assert values.size == np.prod(each["shape"])
            found[each["name"]] = values.tolist()
    assert not rest
    return found


def test_pictures_as_numbers_and_as_files(ask, expected):
    images, files = expected[0], [base64.b64encode(picture(seed)).decode() for seed in range(2)]
    given = (tensor(images.ravel().tolist()), tensor(images.tolist()), tensor(files, "BYTES", (2,)),
             tensor(files, "BYTES", (2.0,)))  # fmt: skip
    for each in given:
        response = ask("POST", PLACE, json={"id": "mine", "inputs": [each]})
        check(of_json(response), expected)
        assert response.json()["id"] == "mine" and response.json()["model_name"] == "net"


def test_the_binary_form(ask, expected):
    images = expected[0]
    files = [picture(seed) for seed in range(2)]
    packed = b"".join(struct.pack("<I", len(file)) + file for file in files)
    for kind, shape, raw in (("UINT8", images.shape, images.tobytes()), ("BYTES", (2,), packed)):
        given = tensor(None, kind, shape, parameters={"binary_data_size": len(raw)})
        del given["data"]
        head = json.dumps({"inputs": [given], "parameters": {"binary_data_output": True}}).encode()
        response = ask("POST", PLACE, content=head + raw, headers={LENGTH: str(len(head))})
        check(of_bytes(response), expected)


def test_outputs_are_chosen(ask, expected):
    wanted = [{"name": "probabilities"}, {"name": "class", "parameters": {"binary_data": False}}]
    found = ask("POST", PLACE, json={"inputs": [tensor(expected[0].ravel().tolist())], "outputs": wanted}).json()
    assert [each["name"] for each in found["outputs"]] == ["probabilities", "class"]
    assert found["outputs"][0]["shape"] == [2, 3]


def test_what_a_server_tells_of_itself(ask, path):
    assert ask("GET", "/v2").json()["name"] == "jaxcls"
    assert ask("GET", "/v2/health/live").json() == {"live": True}
    assert ask("GET", "/v2/health/ready").json() == {"ready": True}
    told = ask("GET", "/v2/models/net").json()
    assert told["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 16, 16, 3]}]
    assert told["platform"] == "onnxruntime_onnx" and {"class", "probabilities"} <= {x["name"] for x in told["outputs"]}
    (version,) = told["versions"]
    assert ask("GET", f"/v2/models/net/versions/{version}").json() == told
    assert ask("GET", f"/v2/models/net/versions/{version}/ready").json()["ready"]
    assert ask("GET", "/v2/models/net/versions/0").status_code == ask("GET", "/v2/models/x").status_code == 404
    body = {"inputs": [tensor([0] * 768, shape=(1, 16, 16, 3))]}
    assert ask("POST", f"/v2/models/net/versions/{version}/infer", json=body).json()["model_version"] == version
    assert ask("POST", "/v2/models/net/versions/0/infer", json=body).status_code == 404


BAD = {
    "no object": [],
    "no inputs": {},
    "two inputs": {"inputs": [tensor([0] * 768, shape=(1, 16, 16, 3))] * 2},
    "another name": {"inputs": [tensor([0] * 768, shape=(1, 16, 16, 3)) | {"name": "x"}]},
    "another type": {"inputs": [tensor([0] * 768, "FP32", (1, 16, 16, 3))]},
    "another shape": {"inputs": [tensor([0] * 768, shape=(1, 3, 16, 16))]},
    "an empty shape": {"inputs": [tensor([], shape=())]},
    "no pictures": {"inputs": [tensor([], shape=(0, 16, 16, 3))]},
    "a shape of text": {"inputs": [tensor([], shape=("1", 16, 16, 3))]},
    "too few numbers": {"inputs": [tensor([0] * 767, shape=(1, 16, 16, 3))]},
    "too large numbers": {"inputs": [tensor([256] * 768, shape=(1, 16, 16, 3))]},
    "fractions": {"inputs": [tensor([0.5] * 768, shape=(1, 16, 16, 3))]},
    "text": {"inputs": [tensor("x", shape=(1, 16, 16, 3))]},
    "uneven": {"inputs": [tensor([[0], [0, 1]], shape=(1, 16, 16, 3))]},
    "no data": {"inputs": [tensor(None, shape=(1, 16, 16, 3))]},
    "numbers for files": {"inputs": [tensor([1], "BYTES", (1,))]},
    "fewer files": {"inputs": [tensor(["", ""], "BYTES", (3,))]},
    "binary that is not there": {"inputs": [tensor([], "BYTES", (1,), parameters={"binary_data_size": 5})]},
    "parameters": {"inputs": [tensor([], "BYTES", (1,), parameters=[])]},
    "half a picture": {"inputs": [tensor(["eA=="], "BYTES", (1.5,))]},
    "a shape of endless numbers": {"inputs": [tensor(["eA=="], "BYTES", (1e999,))]},
    "an id that is no text": {"id": {}, "inputs": [tensor([0] * 768, shape=(1, 16, 16, 3))]},
    "outputs without a name": {"inputs": [tensor([0] * 768, shape=(1, 16, 16, 3))], "outputs": [{"name": []}]},
    "outputs": {"inputs": [tensor([0] * 768, shape=(1, 16, 16, 3))], "outputs": [{"name": "logits"}]},
}


@pytest.mark.parametrize("name", BAD)
def test_requests_that_make_no_sense(ask, name):
    body, headers = json.dumps(BAD[name]), {"Content-Type": "application/json"}  # Python's, with Infinity
    response = ask("POST", PLACE, content=body, headers=headers)
    assert response.status_code == 400 and list(response.json()) == ["error"], response.text


def test_a_broken_picture_and_too_many(ask):
    broken = ask(
        "POST", PLACE, json={"inputs": [tensor([base64.b64encode(picture()).decode(), "eA=="], "BYTES", (2,))]}
    )
    assert broken.status_code == 422 and "picture 2" in broken.json()["error"]
    assert ask("POST", PLACE, json={"inputs": [tensor([""] * 99, "BYTES", (99,))]}).status_code == 413
    for length, body in ((4, b"{}"), ("x", b"{}"), (2, b"{}\0\0\0")):
        assert ask("POST", PLACE, content=body, headers={LENGTH: str(length)}).status_code == 400
    given = {**tensor(None, "BYTES", (1,), parameters={"binary_data_size": 6})}
    del given["data"]
    head = json.dumps({"inputs": [given]}).encode()
    cut = ask("POST", PLACE, content=head + b"\xff\0\0\0ab", headers={LENGTH: str(len(head))})
    assert cut.status_code == 400 and "cut off" in cut.json()["error"]


def test_tensors_of_clips_have_their_frames():
    clips = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4, 1)
    body = json.dumps({"inputs": [tensor(clips.ravel().tolist(), shape=clips.shape)]}).encode()
    np.testing.assert_array_equal(protocol.read(body, None, (3, 4, 4, 1), 8).pictures, clips)
    with pytest.raises(protocol.Refused) as caught:
        protocol.read(body, None, (4, 4, 1), 8)
    assert "UINT8 of shape [n, 4, 4, 1], or BYTES" in caught.value.detail
