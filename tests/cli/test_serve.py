"""`jaxcls serve`: what is told in one line before the port opens."""

import os
import socket
import subprocess
import sys

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("onnxruntime")
pytest.importorskip("httptools")
pytest.importorskip("httpx")

from serve_http import ROOT, free_port, net

from jaxcls.cli.command import main

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return net(tmp_path_factory.mktemp("serve"))


def refused(capfd, *words):
    """The line of a command that ends at once; the port stays closed."""
    port = free_port()
    assert main(["serve", *map(str, words), "--port", str(port)]) == 2
    output = capfd.readouterr()
    (line,) = output.err.splitlines()
    assert line.startswith("error: ") and "is open" not in output.out
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), 1)
    return line


def test_a_key_file_that_others_can_read(path, tmp_path, capfd):
    file = tmp_path / "keys"
    file.write_text(KEY)
    file.chmod(0o644)
    assert "chmod 600" in refused(capfd, path, "--key-file", file)
    assert "can't be read" in refused(capfd, path, "--key-file", tmp_path / "none")


@pytest.mark.parametrize(
    "words, text",
    [
        (["--queue", "3"], "--max-pictures"), (["--allow-origin", "example.com"], "https://example.com"),
        (["--timeout", "0"], "--timeout"), (["--timeout", "x"], "seconds"), (["--workers", "0"], "positive"),
        (["--max-bytes", "-1"], "--max-bytes"), (["--device", "toaster"], "toaster"), (["--hots", "x"], "--host"),
        (["--host", "no.such.host.invalid"], "can't be used"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(path, capfd, words, text):
    assert text in refused(capfd, path, *words)


def test_a_port_out_of_range(path, capfd):
    for port in ("70000", "-1", "http"):
        assert main(["serve", str(path), "--port", port]) == 2
        assert "port" in capfd.readouterr().err


def test_a_port_in_use(path, capfd):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["serve", str(path), "--port", str(taken.getsockname()[1])]) == 2
    assert "Address already in use" in capfd.readouterr().err


def test_models_that_can_not_be_served(path, tmp_path, capfd):
    """Told by the worker, which has to open them."""
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(path.read_bytes()[:200])
    assert "damaged.onnx" in refused(capfd, damaged)
    assert "have one name" in refused(capfd, path, path)
    assert "none.onnx" in refused(capfd, tmp_path / "none.onnx")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_can_not_be_written(path, tmp_path, capfd):
    tmp_path.chmod(0o500)
    assert "can't be written" in refused(capfd, path, "--feedback", tmp_path / "feedback")


def test_a_folder_that_is_a_file(path, tmp_path, capfd):
    (tmp_path / "file").write_text("")
    assert "can't be written" in refused(capfd, path, "--feedback", tmp_path / "file")


def test_a_missing_extra_comes_with_the_line_that_installs_it(path, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'httptools' else find(name, *rest)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "jaxcls", "serve", str(path)], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 2 and "pip install fastapi uvicorn python-multipart httptools" in done.stderr
