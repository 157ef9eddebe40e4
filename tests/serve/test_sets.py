"""A service of models whose answers are sets of labels: what it says, in both protocols, and the page."""

import csv
import io

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("onnxruntime")
pytest.importorskip("httpx")

import browser
import digit_files
import onnx_files
from fastapi.testclient import TestClient
from serve.test_page import READY, serving
from serve_http import picture, run

from jaxcls.errors import UserError
from jaxcls.files import write_json
from jaxcls.runtime.predictor import FilePredictor
from jaxcls.serve import app, feedback, openapi, page, protocol
from jaxcls.serve.artefacts import Served
from jaxcls.serve.registry import Registry
from jaxcls.serve.settings import Settings

LIMITS = (0.4, 0.5, 0.99)


def decision(classes, limits):
    entries = [
        {"class": name, "index": i, "kind": "f1", "wanted": None, "threshold": limit}
        for i, (name, limit) in enumerate(zip(classes, limits, strict=True))
    ]
    return {"step": 7, "split": "validation", "output": "sigmoid", "classes": list(classes), "thresholds": entries,
            "scale": [0.4] * len(classes), "bias": [0.3] * len(classes), "costs": None, "outliers": None}  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The file of a tiny net; `ask` of conftest serves it."""
    told = onnx_files.told(output="logits", calibration=decision(onnx_files.CLASSES, LIMITS))
    return onnx_files.model(tmp_path_factory.mktemp("sets") / "net.onnx", {**told, "answer": "sigmoid"})


@pytest.fixture(scope="module")
def expected(path):
    """(prepared pictures, what the predictor says of them, probabilities): there are sets of several sizes."""
    predictor = FilePredictor.load(path)
    images = np.stack([predictor.prepare(content) for content in pictures()])
    rows = predictor(images, 2)
    assert len({len(row["labels"]) for row in rows}) > 1
    return images, rows, predictor.probabilities(predictor.logits(images))


def pictures():
    """Bytes of pictures of several colours."""
    from PIL import Image

    for colour in ((200, 20, 30), (10, 180, 20), (30, 40, 220), (0, 0, 0), (255, 255, 255)):
        file = io.BytesIO()
        Image.new("RGB", (40, 30), colour).save(file, "png")
        yield file.getvalue()


def test_predict_gives_the_sets_of_the_predictor(ask, expected):
    files = [("images", (f"{i}.png", content)) for i, content in enumerate(pictures())]
    told = ask("POST", "/predict?top=2", files=files).json()["answers"]
    for answer, row in zip(told, expected[1], strict=True):
        assert answer["labels"] == row["labels"] and [x["class"] for x in answer["top"]] == [
            x["class"] for x in row["top"]
        ]
        assert answer["probabilities"] == pytest.approx(row["probabilities"], abs=1e-6)
        assert {x["class"]: x["threshold"] for x in answer["top"]}.items() <= dict(
            zip(onnx_files.CLASSES, LIMITS, strict=True)
        ).items()
        known = openapi.PREDICTED[200]["content"]["application/json"]["schema"]["properties"]["answers"]["items"]
        assert answer.keys() <= known["properties"].keys()
        assert answer["top"][0].keys() <= known["properties"]["top"]["items"]["properties"].keys()


def test_what_is_told_of_the_model_names_its_kind_and_thresholds(ask):
    (told,) = ask("GET", "/models").json()["models"]
    assert (told["output"], told["thresholds"]) == ("sigmoid", list(LIMITS)) and told["decides"]
    (shown,) = ask("GET", "/about").json()["models"]
    text = " ".join(shown["limits"])
    assert "A picture may have several labels, or none" in text and "its own threshold" in text
    assert "none of these" not in text and shown["doubtful"] == 0


def test_the_open_protocol_has_a_flag_and_a_probability_for_each_class(ask, expected):
    images, rows, probabilities = expected
    described = ask("GET", "/v2/models/net").json()
    assert {each["name"]: (each["datatype"], each["shape"]) for each in described["outputs"]} == {
        "labels": ("BOOL", [-1, 3]), "probabilities": ("FP64", [-1, 3])
    }  # fmt: skip
    tensor = {"name": "image", "datatype": "UINT8", "shape": list(images.shape), "data": images.ravel().tolist()}
    found = ask("POST", "/v2/models/net/infer", json={"inputs": [tensor]}).json()["outputs"]
    flags, shares = ({each["name"]: each for each in found}[name] for name in ("labels", "probabilities"))
    assert flags["shape"] == shares["shape"] == [len(rows), 3]
    wanted = [[name in row["labels"] for name in onnx_files.CLASSES] for row in rows]
    assert flags["data"] == np.ravel(wanted).tolist()
    assert shares["data"] == pytest.approx(probabilities.ravel().tolist(), abs=1e-6)
    binary = {"inputs": [tensor], "outputs": [{"name": "labels", "parameters": {"binary_data": True}}]}
    response = ask("POST", "/v2/models/net/infer", json=binary)
    assert list(response.content[-flags["shape"][0] * 3 :]) == np.ravel(wanted).astype(int).tolist()
    other = ask("POST", "/v2/models/net/infer", json={"inputs": [tensor], "outputs": [{"name": "class"}]})
    assert other.status_code == 400 and "net gives no 'class', but labels, probabilities" in other.text
    assert "labels" in protocol.OUTPUTS


def test_each_label_has_a_heat_map(path, expected, monkeypatch):
    monkeypatch.setattr(Served, "explains", property(lambda self: "CAM"))
    monkeypatch.setattr(Served, "heatmap", lambda self, image, name=None: np.full((8, 8, 3), 9, np.uint8))
    files = [("images", (f"{i}.png", content)) for i, content in enumerate(pictures())]

    async def body(asks, registry):
        del registry
        return (await asks.post("/predict?heatmap=true", files=files)).json()["answers"]

    for answer in run(body, path):
        assert len(answer["heatmap"]) == len(answer["labels"])
        assert all(text.startswith("data:image/png;base64,") for text in answer["heatmap"])


def test_feedback_is_refused(path, tmp_path):
    with pytest.raises(
        UserError, match="^--feedback is a folder of class folders, and net answers with several labels"
    ):
        feedback.check(tmp_path / "there", [("a", "b")], ["net"])
    registry = Registry.open([str(path)], note=lambda _: None)
    with TestClient(app.create(registry, Settings(feedback=str(tmp_path))), base_url="http://localhost") as asks:
        answer = asks.post(
            "/feedback", files={"image": ("a.png", picture())}, data={"label": "cat", "predicted": "cat"}
        )
    assert answer.status_code == 400 and "several labels" in answer.json()["error"]


def test_how_good_it_is_comes_from_the_record_of_its_export(path, tmp_path):
    copy = tmp_path / "net.onnx"
    copy.write_bytes(path.read_bytes())
    check = {"on": "60 of 60 validation pictures", "pictures": 60, "file": {"mAP": 0.7, "interval": [0.6, 0.8]}}
    write_json(tmp_path / "export.json", [{"file": "net.onnx", "step": 7, "check": check}])
    told = page.of_model(Registry.open([str(copy)], note=lambda _: None).get())
    assert told["accuracy"] == {"mAP": 0.7, "interval": [0.6, 0.8], "count": 60, "of": "validation pictures"}


@pytest.mark.slow
def test_the_page_shows_the_set_and_the_thresholds(tmp_path, monkeypatch):
    names = tuple("0123456789")
    told = {"output": "logits", "calibration": decision(names, [0.3] * 5 + [0.9] * 5)}
    monkeypatch.setattr(digit_files.onnx_files, "told", _sigmoid(digit_files.onnx_files.told))
    digit_files.write(tmp_path / "digits.onnx", **told)
    monkeypatch.setattr(Served, "explains", property(lambda self: "Grad-CAM"))
    monkeypatch.setattr(Served, "heatmap", lambda self, image, name=None: np.full((56, 56, 3), 99, np.uint8))
    (tmp_path / "3.png").write_bytes(digit_files.png(3))
    check = {"on": "60 of 60 validation pictures", "pictures": 60, "file": {"mAP": 0.7, "interval": [0.6, 0.8]}}
    write_json(tmp_path / "export.json", [{"file": "digits.onnx", "step": 7, "check": check}])
    predictor = FilePredictor.load(tmp_path / "digits.onnx")
    (row,) = predictor(predictor.prepare((tmp_path / "3.png").read_bytes())[None])
    assert len(row["labels"]) > 1
    with browser.browser(tmp_path) as chromium, serving([tmp_path / "digits.onnx"]) as address:
        shown = chromium.open_page(address, wait=READY)
        assert "mAP 70.0" in shown.text("#subtitle") and "several labels a picture" in shown.text("#facts")
        assert shown.js("document.querySelector('#slider').hidden")
        shown.drop("#drop", [tmp_path / "3.png"])
        shown.until("document.querySelectorAll('.card.done').length == 1")
        title = shown.text(".card h3")
        assert all(name in title for name in row["labels"]) and title.count("%") == len(row["labels"])
        chosen = shown.js("[...document.querySelectorAll('.bars .chosen bdi')].map(x => x.textContent)")
        assert chosen == [each["class"] for each in row["top"] if each["class"] in row["labels"]]
        left = shown.js("[...document.querySelectorAll('.bars .limit')].map(x => x.style.left)")
        assert left == [f"{100 * each['threshold']:.0f}%" for each in row["top"]]
        buttons = shown.js("[...document.querySelectorAll('.explains button')].map(x => x.textContent)")
        assert buttons == [f"Heat map: {name}" for name in row["labels"][:6]]
        shown.click(".explains button")
        shown.until("document.querySelector('.heat')?.naturalWidth == 56")
        shown.js("document.querySelectorAll('.explains button')[1].click()")
        shown.until("document.querySelectorAll('.explains button')[1].getAttribute('aria-pressed') == 'true'")
        assert shown.js("document.querySelectorAll('[aria-pressed=true]').length") == 1
        text = shown.downloaded(lambda: shown.click("#csv"), tmp_path / "answers.csv").decode("utf-8-sig")
        (line,) = csv.DictReader(io.StringIO(text, newline=""))
        assert line["labels"] == "|".join(row["labels"]) and "class" not in line
        assert not shown.complaints


def _sigmoid(told):
    return lambda **options: {**told(**options), "answer": "sigmoid"}
