"""What the page tells of models, and its files."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("onnxruntime")
pytest.importorskip("httpx")

import digit_files
from fake_runs import make_run
from fastapi.testclient import TestClient
from html_page import Page

from jaxcls.measure import decision, stored
from jaxcls.metrics import wilson_interval
from jaxcls.report.page import write_report
from jaxcls.serve import app, page
from jaxcls.serve.registry import Registry
from jaxcls.serve.settings import Settings

STATIC = Path(page.__file__).parent / "static"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a file that knows digits."""
    folder = tmp_path_factory.mktemp("made")
    digit_files.write(folder / "digits.onnx")
    return folder


def told(folder, entries=None):
    """What is told of folder/digits.onnx, with these as its export.json."""
    if entries is not None:
        (folder / "export.json").write_text(json.dumps(entries))
    return page.of_model(Registry.open([str(folder / "digits.onnx")], note=lambda _: None).get())


def test_what_is_told_of_files(made, tmp_path):
    shutil.copy(made / "digits.onnx", tmp_path)
    found = told(tmp_path)
    assert found["accuracy"] is None and any("not stored" in line for line in found["limits"])
    assert found["doubtful"] == 0.4 and found["draws"] and str(tmp_path) not in json.dumps(found)
    check = {"on": "60 of 60 validation pictures", "pictures": 60, "file": {"accuracy": 0.9, "interval": [0.8, 0.95]}}
    entry = {"file": "digits.onnx", "step": 7, "check": check}
    found = told(tmp_path, [entry])
    assert found["accuracy"] == {"accuracy": 0.9, "interval": [0.8, 0.95], "count": 60, "of": "validation pictures"}
    assert any("also chose the checkpoint" in line for line in found["limits"])
    for others in ([{**entry, "step": 8}], [{**entry, "check": None}], [{**entry, "file": "other.onnx"}], [1], "x"):
        assert told(tmp_path, others)["accuracy"] is None


def test_a_file_says_itself_what_was_measured(made, tmp_path):
    """Away from its export.json, and against what lies beside it."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(made / "digits.onnx")
    check = {"on": "60 of 60 test pictures", "pictures": 60, "file": {"accuracy": 0.9, "interval": [0.8, 0.95]}}
    model.metadata_props.add(key="check", value=json.dumps(check))
    onnx.save(model, tmp_path / "digits.onnx")
    wanted = {"accuracy": 0.9, "interval": [0.8, 0.95], "count": 60, "of": "pictures"}
    assert told(tmp_path)["accuracy"] == wanted
    assert told(tmp_path, [{"file": "digits.onnx", "step": 7, "check": {}}])["accuracy"] == wanted


def of_run(path, step):
    return page.of_run(SimpleNamespace(path=str(path), predictor=SimpleNamespace(step=step), sets=False))


def test_what_is_told_of_a_run_is_what_its_report_says(tmp_path):
    make_run(tmp_path / "run", n=90)
    verdict, accuracy, limits = of_run(tmp_path / "run", 20)
    report = Page(write_report(tmp_path / "run").read_text(encoding="utf-8")).text
    assert verdict and len(limits) > 1
    kept = [line for line in limits if "jaxcls calibrate" not in line]  # the next test is of that one
    assert all(" ".join(line.split()) in report for line in (verdict, *kept))
    right = json.loads((tmp_path / "run/results.json").read_text())["test"]
    assert (accuracy["accuracy"], accuracy["count"], accuracy["of"]) == (right["accuracy"], 90, "test pictures")
    assert accuracy["interval"] == pytest.approx(wilson_interval(right["correct"], 90))
    assert of_run(tmp_path / "run/checkpoints/20", 20)[0] == verdict
    verdict, accuracy, limits = of_run(tmp_path / "run", 30)
    assert not verdict and accuracy is None and "Nothing was measured of these weights (step 30)" in limits[0]


def test_cautions_about_probabilities_are_of_those_that_are_served(tmp_path):
    make_run(tmp_path / "run", n=400, change=lambda logits, label: (6 * logits, label))
    lines = [line for line in of_run(tmp_path / "run", 20)[2] if "probabilities can't be taken at their word" in line]
    assert len(lines) == 1 and "jaxcls calibrate RUN" in lines[0] and "see Probabilities" not in lines[0]
    validation = stored.read_logits(tmp_path / "run", "validation", 20)
    decided = decision.fit(validation.logits, validation.label, [f"class {i}" for i in range(3)])
    decision.save(tmp_path / "run", 20, decided)
    assert not [line for line in of_run(tmp_path / "run", 20)[2] if "probabilities" in line]


def test_a_server_of_files_loads_neither_jax_nor_matplotlib(made):
    code = f"""
import sys
from fastapi.testclient import TestClient
from jaxcls.serve import app
from jaxcls.serve.registry import Registry
from jaxcls.serve.settings import Settings
client = TestClient(app.create(Registry.open([{str(made / "digits.onnx")!r}]), Settings()), base_url="http://localhost")
assert client.get("/about").json()["models"][0]["classes"][3] == "3"
assert not {{"jax", "flax", "matplotlib"}} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_files_of_the_page_are_whole_and_no_others_are_given(made):
    registry = Registry.open([str(made / "digits.onnx")], note=lambda _: None)
    client = TestClient(app.create(registry, Settings()), base_url="http://localhost")
    first = client.get("/")
    assert first.status_code == 200 and "default-src 'self'" in first.headers["content-security-policy"]
    assert not re.search(r"<script(?![^>]*src=)| style=| on[a-z]+=", first.text)  # nothing that the policy forbids
    for name in [path.name for path in STATIC.iterdir()]:
        answer = client.get(f"/static/{name}")
        assert answer.status_code == 200 and len(answer.content) > 50
        again = client.get(f"/static/{name}", headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304 and not again.content
        assert not re.search(r"https?://(?!www.w3.org/2000/svg)", answer.text)
    for name in ("../page.py", "..%2fpage.py", "%2e%2e/page.py", "nothing.js", "", "page.js/x"):
        assert client.get(f"/static/{name}").status_code == 404


def test_contrast_of_colours():
    """WCAG 2.2's contrast: 7 for text, 3 for what is drawn, in light and in dark."""

    def luminance(colour):
        digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
        levels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in levels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    schemes = re.findall(r":root \{(.*?)\}", (STATIC / "style.css").read_text(), re.S)
    assert len(schemes) == 2
    text = "ink/paper ink/panel ink/warn ink/track dim/paper dim/panel link/paper link/panel on-link/link bad/panel"
    drawn = "bar/track link/track warn-rule/panel warn-rule/warn dim/panel link/paper"
    for scheme in schemes:
        colours = dict(re.findall(r"--([\w-]+): #(\w+)", scheme))
        for pairs, least in ((text, 7), (drawn, 3)):
            for pair in pairs.split():
                low, high = sorted(luminance(colours[name]) for name in pair.split("/"))
                assert (high + 0.05) / (low + 0.05) >= least, pair
