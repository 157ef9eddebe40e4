"""Who may import whom (docs/design.md, Folders), and what a mere import loads."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LEAVES = {"array_cache", "entry", "errors", "pytree", "losses", "metrics", "parallel", "state", "schedules",
          "checkpoint_view", "records", "defaults"}  # fmt: skip
# From a module or folder of jaxcls to those that it may use. Everything may use errors and pytree.
MAY = {
    **{leaf: set() for leaf in LEAVES},
    "config_file": {"defaults"},
    "reader": {"defaults"},
    "signals": {"parallel"},
    "models": set(),
    "data": set(),
    "augment": {"data"},  # data.decode, for pictures that come encoded
    "optim": {"schedules"},
    "step": {"state", "parallel"},
    "teachers": {"checkpoint_view", "models", "tasks"},
    "explain": {"models"},
    "predictor": {"build", "checkpoint_view", "reader", "data", "augment", "explain", "measure", "parallel", "tasks",
                  "tta"},
    "find_lr": {"build", "preflight", "logs", "defaults"},
    "measure": {"checkpoint_view", "metrics", "records", "defaults"},
    "precise_bn": {"parallel"},
    "tta": {"tasks"},
    "distillation": {"array_cache", "teachers", "tasks", "models", "data", "metrics", "parallel"},
    "tasks": {"state", "parallel", "losses", "metrics", "augment", "models"},
    "feed": {"step", "data"},
    "checkpoint": {"checkpoint_view", "parallel"},
    "logs": {"records"},
    "report": {"records", "metrics", "checkpoint_view", "defaults", "measure", "explain", "models"},
    "preflight": {"checkpoint_view", "data", "defaults"},
    "recipe": {"losses", "optim", "reader", "schedules", "transfer"},
    "transfer": {"models"},
    "run": {"tasks", "models", "data", "optim", "parallel", "step", "state", "feed", "precise_bn"},
    "build": {"run", "tasks", "recipe", "models", "data", "augment", "schedules", "parallel", "reader", "distillation",
              "tta"},
    "evaluate": {"build", "checkpoint", "data", "measure", "metrics", "parallel", "report", "tasks", "tta"},
    "train": {"build", "step", "evaluate", "checkpoint", "logs", "report", "metrics", "parallel", "preflight",
              "signals", "records"},
    "main": {"entry", "train", "evaluate", "build", "preflight", "config_file", "defaults", "signals"},
}  # fmt: skip
# may use everything, nothing may use them
APART = {"ablate", "classical", "corrupt", "search", "soup", "compress", "export", "serve"}
HEAVY = {"matplotlib", "sklearn", "tensorflow_datasets", "grain", "tensorboard", "rich", "orbax", "jax", "flax"}


def imports(path):
    """(line, module) of every import in a file, wherever it stands; `from a import b` counts as a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def part(name):
    """`jaxcls.data.sources.load` as "data"; None for what is not ours or is the package itself."""
    words = name.split(".")
    known = MAY.keys() | APART
    return words[1] if words[0] == "jaxcls" and len(words) > 1 and words[1] in known else None


def files():
    for path in sorted((ROOT / "jaxcls").rglob("*.py")):
        yield path, path.relative_to(ROOT / "jaxcls").parts[0].removesuffix(".py")


def test_every_part_has_a_rule():
    assert {name for _, name in files()} - {"__init__"} <= MAY.keys() | APART


def test_imports_run_one_way():
    wrong = []
    for path, name in files():
        allowed = MAY.get(name, MAY.keys()) | {name, "errors", "pytree"} if name not in APART else MAY.keys() | {name}
        for line, module in imports(path):
            if part(module) and part(module) not in allowed:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {name} may not import {part(module)}")
    assert not wrong, "\n".join(wrong)


def test_tensorflow_is_imported_nowhere():
    found = [(str(p), line) for p, _ in files() for line, m in imports(p) if m.split(".")[0] in ("tensorflow", "tf")]
    assert not found


@pytest.mark.parametrize(
    "arguments, absent",
    [
        (["-c", "import jaxcls"], HEAVY | {"tensorflow", "numpy"}),
        (["-m", "jaxcls.main", "--help"], {"tensorflow", "jax", "flax", "orbax", "grain", "matplotlib", "sklearn"}),
        (["-c", "from jaxcls import train, evaluate, build"], {"tensorflow", "matplotlib", "sklearn", "grain"}),
    ],
)
def test_an_import_loads_no_more_than_it_needs(arguments, absent, tmp_path):
    """The modules that a process has loaded when it ends, told by a `sitecustomize` of its own."""
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, json, os, sys\n"
        "atexit.register(lambda: open(os.environ['LOADED'], 'w').write(json.dumps(sorted(sys.modules))))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "LOADED": str(tmp_path / "loaded.json")}
    subprocess.run([sys.executable, *arguments], env=environment, cwd=ROOT, capture_output=True, timeout=120)
    loaded = {name.split(".")[0] for name in json.loads((tmp_path / "loaded.json").read_text())}
    assert "jaxcls" in loaded or "-m" in arguments
    assert not loaded & absent
