"""What the routes answer: pictures in every form, each for itself."""

import base64

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("onnxruntime")
pytest.importorskip("httpx")

from serve_http import picture, run, same

from jaxcls.serve.settings import Settings

FORM, PART = "multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="f"'


@pytest.fixture(scope="module")
def expected(path):
    """Of picture(0), picture(1): what the predictor says, without a service."""
    import numpy as np

    from jaxcls.runtime.predictor import FilePredictor

    predictor = FilePredictor.load(path)
    return predictor(np.stack([predictor.prepare(picture(seed)) for seed in range(2)]), 3)


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
