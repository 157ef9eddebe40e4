"""What is installed: declared dependencies, and a wheel that works alone."""

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# For what is imported and comes with something that is declared, or with nothing that could be.
WITH = {"tensorflow": "tensorflow-cpu", "jaxlib": "jax", "mlflow": "mlflow-skinny"}


def requirements(lines):
    """Names of distributions in lines such as "jax>=0.10", in one spelling."""
    return {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in lines}


def test_what_is_imported_is_declared():
    declared = requirements(PROJECT["dependencies"])
    extras = set().union(
        *(requirements(lines) for name, lines in PROJECT["optional-dependencies"].items() if name != "dev")
    )
    distributions = importlib.metadata.packages_distributions()
    wrong, used = [], set()
    for path in sorted((ROOT / "jaxcls").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names = [node.module] if isinstance(node, ast.ImportFrom) else names
            for module in {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"jaxcls"}:
                owners = {d.lower().replace("_", "-") for d in distributions.get(module, [WITH.get(module, module)])}
                owners |= {WITH[module]} if module in WITH else set()
                used |= owners
                if not owners & (declared | extras):
                    wrong.append(f"{path.relative_to(ROOT)}: {module} ({', '.join(owners)})")
    assert not wrong, "\n".join(wrong)
    # imported by a package that does not declare it; a program that shows event files; a plugin of tensorflow-datasets
    assert declared - used <= {"importlib-resources", "tensorboard", "array-record"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT], check=True
    )
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def jaxcls(wheel, tmp_path_factory):
    """(arguments, folder) -> output of the installed command, in an environment that has the wheel and dependencies.

    Those are the ones of the environment that runs the tests, so that nothing has to be downloaded; its jaxcls is not
    there, since a line in a .pth file adds a folder and none of the folder's own .pth files.
    """
    venv = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    site = subprocess.check_output(
        [venv / "bin/python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    )
    Path(site.strip(), "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    pip = [venv / "bin/python", "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", wheel]
    subprocess.run(pip, check=True)

    def command(*arguments, cwd, status=0):
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "XLA_FLAGS")}
        run = subprocess.run(
            [venv / "bin/jaxcls", *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True
        )
        assert run.returncode == status, run.stdout + run.stderr
        return run.stdout

    return command


@pytest.mark.slow
def test_the_wheel_works_alone_from_an_empty_folder(jaxcls, tmp_path):
    place = subprocess.list2cmdline([str(tmp_path)])
    jaxcls("train", "--config=lenet5_digits", "--workdir=runs/digits", "--config.duration=4 epochs", cwd=tmp_path)
    results = json.loads((tmp_path / "runs/digits/results.json").read_text())
    assert results["test"]["count"] == 268, place
    Image.fromarray(np.full((8, 8), 200, np.uint8)).save(tmp_path / "one.png")
    row = json.loads(jaxcls("predict", "runs/digits", "one.png", "--format=jsonl", cwd=tmp_path).splitlines()[-1])
    assert row["class"] in "0123456789"
    assert "report" in jaxcls("report", "runs/digits", cwd=tmp_path)
    assert "268 examples" in jaxcls("eval", "runs/digits", cwd=tmp_path)
    assert "61,706" in jaxcls("inspect", "runs/digits", cwd=tmp_path)
    jaxcls("configs", "lenet5_digits", "--copy", ".", cwd=tmp_path)
    jaxcls("check", "--config=lenet5_digits.py", cwd=tmp_path)
    assert "lenet5_digits" in jaxcls("configs", cwd=tmp_path)
    assert "resnet50" in jaxcls("models", cwd=tmp_path)
    jaxcls("doctor", cwd=tmp_path)


@pytest.mark.slow
def test_the_wheel_holds_what_is_in_the_checkout(wheel):
    """Every module and config, the types' marker, and the command."""
    import zipfile

    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {p.relative_to(ROOT).as_posix() for p in (ROOT / "jaxcls").rglob("*.py")} | {"jaxcls/py.typed"}
    expected |= {f"jaxcls/{p.relative_to(ROOT).as_posix()}" for p in (ROOT / "configs").rglob("*.py")}
    assert expected <= names and not {name for name in names if name.startswith(("configs", "tests"))}
