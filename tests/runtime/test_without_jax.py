"""Files are predicted and scored where JAX and everything else of training is not installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from onnx_files import model, told

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("numpy", "pillow", "simplejpeg", "onnxruntime")  # docs/deploy.md
BLOCK = """
import importlib.abc, sys

BLOCKED = set({blocked!r}.split())

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED and name != "sklearn":  # whose folder holds the digits
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from jaxcls.cli.command import main
if {alone!r}:
    sys.exit(main({alone!r}))
statuses = [main(arguments) for arguments in {commands!r}]
assert not BLOCKED & {{name.split(".")[0] for name in sys.modules}}
sys.exit(max(statuses))
"""
BLOCKED = """
jax jaxlib flax optax orbax ml_collections ml_dtypes absl etils clu grain tensorstore scipy sklearn jaxtyping markupsafe
rich matplotlib tensorboard safetensors requests tensorflow tensorflow_datasets array_record shtab onnx cv2
cykooz_resizer turbojpeg optuna torch
"""


def commands(path, pictures, out):
    return [
        ["predict", str(path), str(pictures), "--format", "jsonl", "--out", str(out / "rows.jsonl")],
        ["predict", str(path), str(pictures), "--heatmaps", str(out / "maps")],
        ["eval", str(path), "--data", str(pictures), "--out", str(out / "scored")],
        ["eval", str(path), "--data", "digits"],
    ]


def check(done, out):
    assert done.returncode == 2, done.stderr  # of the last command alone: three of digits' classes are unknown
    assert "no class of these pictures" in done.stderr and "Traceback" not in done.stderr
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 12 and all("energy" in row for row in rows) and len(list((out / "maps").glob("*.png"))) == 12
    assert json.loads((out / "scored" / "eval" / "pictures-0.json").read_text())["count"] == 12
    return rows


def test_no_package_of_training_is_imported(tmp_path, pictures):
    from jaxcls.cli.command import main

    path = model(tmp_path / "net.onnx", told(), features=True)
    code = BLOCK.format(blocked=BLOCKED, commands=commands(path, pictures, tmp_path), alone=[])
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    rows = check(done, tmp_path)
    assert main(["predict", str(path), str(pictures), "--format", "jsonl", "--out", str(tmp_path / "here.jsonl")]) == 0
    assert rows == [json.loads(line) for line in (tmp_path / "here.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("verb, absent", [("predict", "jax"), ("eval", "ml_collections")])
def test_a_run_is_not_for_such_an_environment(tmp_path, pictures, verb, absent):
    data = ["--data", str(pictures)] if verb == "eval" else [str(pictures)]
    code = BLOCK.format(blocked=BLOCKED, commands=[], alone=[verb, str(tmp_path), *data])
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.startswith(f"error: this needs {absent}, which is not installed: pip")


@pytest.mark.slow
def test_four_packages_are_enough(tmp_path, pictures):
    """In an environment of its own."""
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    installed = subprocess.run([*pip, *NEEDED], capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"pip finds no packages here: {installed.stderr[-200:]}")
    subprocess.run([*pip, "--no-deps", str(ROOT)], check=True)
    path = model(tmp_path / "net.onnx", told(), features=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    for command in (each := commands(path, pictures, tmp_path)):
        done = subprocess.run([str(python), "-m", "jaxcls", *command], cwd=tmp_path, env=environment,
                              capture_output=True, text=True)  # fmt: skip
        assert done.returncode == (2 if command is each[-1] else 0), done.stderr
    assert "pip install scikit-learn" in done.stderr
