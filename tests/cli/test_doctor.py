"""jaxcls doctor: what it tells where all is well, and that it tells what is missing or broken in a line."""

import importlib.metadata
import json
import re
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from jaxcls.cli import command, diagnosis

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def doctor(capsys, *arguments):
    """(status, output) of the command."""
    status = command.main(["doctor", *arguments])
    captured = capsys.readouterr()
    assert captured.err == ""
    return status, captured.out


def name_of(requirement):
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


def test_it_tells_what_is_there(capsys, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "program").write_bytes(b"x" * 3 * 2**20)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(cache))
    monkeypatch.chdir(tmp_path)
    status, out = doctor(capsys, "--json")
    report = json.loads(out)
    assert status == 0 and report["problems"] == [] and report["error"] is None
    assert report["python"] == ".".join(map(str, sys.version_info[:3]))
    assert report["packages"]["jax"] == importlib.metadata.version("jax")
    assert report["backend"] == "cpu" and report["devices"] and report["cores"] > 0
    assert report["cache"] == {"folder": str(cache), "files": 1, "bytes": 3 * 2**20, "writable": True}
    assert 0 < report["disk"]["here"]["free"] < report["disk"]["here"]["total"]
    text = "\n".join(diagnosis.lines(report))
    assert f"{cache}: 3 MiB in 1 files" in text and "ready" in text
    assert list(tmp_path.iterdir()) == [cache]


def test_the_packages_are_those_of_the_project():
    needed = {name_of(requirement) for requirement in PROJECT["dependencies"]}
    assert {*diagnosis.NEEDED} <= needed | {"jaxlib"}
    groups = PROJECT["optional-dependencies"]
    extras = [line for group, lines in groups.items() if group not in ("dev", "cuda12", "cuda13") for line in lines]
    assert {name_of(extra.package) for extra in diagnosis.EXTRAS} == {name_of(line) for line in extras}
    bounded = {f"pip install '{line}'" for line in extras if "<" in line}
    for extra in diagnosis.EXTRAS:
        assert extra.install in bounded or extra.install == f"pip install {extra.package}"


def test_a_platform_that_jax_lacks_is_a_line_and_status_1(capsys, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    status, out = doctor(capsys)
    assert status == 1 and "Traceback" not in out
    (line,) = [line for line in out.splitlines() if line.startswith("problem")]
    assert "JAX sees no device" in line and "JAX_PLATFORMS=cuda" in line
    assert "pip install 'jax[cuda13]'" in line or diagnosis.version(*diagnosis.PLUGINS)


@pytest.mark.parametrize("probe, words", [("raise SystemExit(3)", "status 3"), ("import os; os.abort()", "status -6")])
def test_a_jax_that_ends_the_process_is_a_line(capsys, monkeypatch, probe, words):
    monkeypatch.setattr(diagnosis, "PROBE", probe)
    status, out = doctor(capsys)
    assert status == 1 and words in out


def test_a_jax_that_hangs_is_a_line(capsys, monkeypatch):
    monkeypatch.setattr(diagnosis, "PROBE", "import time; time.sleep(60)")
    monkeypatch.setattr(diagnosis, "SECONDS", 0.5)
    status, out = doctor(capsys)
    assert status == 1 and "did not answer" in out


@pytest.fixture
def quick(monkeypatch):
    """Without asking JAX in a process of its own."""
    monkeypatch.setattr(diagnosis, "sight", lambda: {"backend": "cpu", "devices": ["0: cpu"], "error": None})


def test_what_is_not_installed_comes_with_its_line(capsys, monkeypatch, quick):
    monkeypatch.setattr(diagnosis, "version", lambda *names: None if {"optax", "scikit-image"} & {*names} else "1.0")
    status, out = doctor(capsys)
    assert status == 1 and "optax missing: pip install optax" in out
    assert "scikit-image not installed" in out and "pip install scikit-image\n" in out


def test_a_home_that_can_not_be_written_is_a_line(capsys, tmp_path, monkeypatch, quick):
    (tmp_path / "home").touch()  # a file: not even root can write below it
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    status, out = doctor(capsys)
    assert status == 0 and f"compilation cache {tmp_path}/home/.cache/jaxcls/xla can't be written" in out


def test_no_home_and_no_memory_figures_are_told_as_such(monkeypatch, quick):
    monkeypatch.setattr(diagnosis, "cache_path", lambda: None)
    report = diagnosis.report()
    report["memory"] = {"total": None, "available": None, "limit": None}
    text = "\n".join(diagnosis.lines(report))
    assert "there is no home folder" in text and "? of ? available" in text


def test_a_full_disk_stands_against_training(capsys, monkeypatch, quick):
    monkeypatch.setattr(diagnosis.shutil, "disk_usage", lambda place: SimpleNamespace(total=10**12, free=5))
    status, out = doctor(capsys)
    assert status == 1 and "is full: 0 MiB free" in out
