"""The lines of docs/serving.md, as they stand, against a service; and that it says what is true."""

import json
import re
import shutil
import signal
import subprocess

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("onnxruntime")
pytest.importorskip("httptools")
pytest.importorskip("httpx")

from serve_http import ROOT, Process, net, picture

from jaxcls.serve import bodies, connection, limits, metrics
from jaxcls.serve.settings import Settings

PAGE = (ROOT / "docs" / "serving.md").read_text()


def commands():
    """The lines with curl of its blocks."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [line for kind, block in blocks if not kind for line in block.splitlines() if "curl" in line]


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="needs curl and bash")
def test_every_curl_line_works_as_it_stands(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(picture(0, kind="jpeg"))
    (tmp_path / "other.png").write_bytes(picture(1))
    found = {}
    with Process(tmp_path, f"digits={net(tmp_path)}") as service:
        service.until_ready()
        for line in commands():
            here = line.replace("127.0.0.1:8000", f"127.0.0.1:{service.port}")
            done = subprocess.run(["bash", "-c", here], cwd=tmp_path, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
            found[line] = done.stdout
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(30) == 0
        assert "Traceback" not in service.errors.read_text() and "Traceback" not in service.output.read_text()
    assert len(found) == 11
    for line, text in found.items():
        told = json.loads(text) if not line.endswith("/metrics") else {"metrics": text}
        assert "error" not in told, text
        if "/predict" in line:
            assert len(told["answers"]) == line.count("-F ") + ("-F" not in line) and told["model"] == "digits"
            assert all(answer["class"] in ("cat", "dog", "owl") for answer in told["answers"])
    # the same picture, in a form, by itself, in base64, as a tensor of files
    asked = [json.loads(text) for line, text in found.items() if "/predict" in line]
    tensor = next(json.loads(text) for line, text in found.items() if line.endswith("infer"))
    values = [each["answers"][0]["probability"] for each in asked]
    assert values == pytest.approx([tensor["outputs"][1]["data"][0]] * len(asked), abs=1e-6)


def test_the_limits_that_it_names_are_those():
    default = Settings()
    named = {
        f"`--max-bytes` {default.max_bytes // 2**20} MiB", f"`--max-pictures` {default.max_pictures} a request",
        f"`--max-pixels` {default.max_pixels // 10**6} million", f"`--timeout` {default.timeout:g} s",
        f"`--queue` {default.queue} pictures", f"(`--reload-every`, {default.reload_every:g} s)",
        f"`top` ({default.top})",
        f"has {limits.PATIENCE:g} seconds and one more for each {limits.RATE / 1000:g} kB",
        f"headers have {connection.PATIENCE:g} seconds, {connection.HEAD // 1024} kB and {connection.FIELDS} lines",
    }  # fmt: skip
    assert not [text for text in named if text not in PAGE]
    assert "not fetched" in bodies.unpacked("http://x")
    assert set(re.findall(r"`(jaxcls_[a-z_]+)`", PAGE)) == set(metrics._ABOUT)


def test_the_statuses_that_it_names_are_those_that_are_counted():
    row = re.findall(r"^\| ([45][\d, ]+) \|", PAGE, re.MULTILINE)
    named = {int(text) for each in row for text in each.split(", ")}
    # 405 is HTTP's own, 499 nobody sees, 507 is of feedback, and 431 comes before anything is counted
    assert named == {status for status in metrics.STATUS if status >= 400} - {405, 499, 507} | {431}
