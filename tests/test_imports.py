"""Who may import whom (docs/design.md, Folders), and what a mere import loads."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# From a folder or file at the top of jaxcls to those that it may use, in layers. Everything may use errors and types.
MAY = {
    "errors": "",
    "types": "",
    "pytree": "",
    "text": "",
    "hyperparameters": "",
    "sharding": "pytree",
    "placement": "pytree sharding",
    "parallel": "hyperparameters placement sharding",
    "files": "",
    "call_strings": "",
    "losses": "hyperparameters",
    "criteria": "",
    "metrics": "",
    "set_metrics": "metrics",
    "choices": "",
    "columns": "",
    "heatmaps": "",
    "state": "",
    "defaults": "",
    "settings": "call_strings defaults",
    "logs": "text",
    "words": "",
    "data": "call_strings files text",
    "augment": "call_strings data heatmaps hyperparameters",  # decode, for pictures that come encoded
    "models": "augment call_strings columns files parallel pytree",  # what weights want of pictures
    "prune": "models pytree",  # a pruned model is a model
    "quantize": "models prune pytree",  # and so is one that is rounded to 8 bits
    "nas": "call_strings files models parallel",  # spaces of nets
    "optim": "hyperparameters models pytree",
    "checkpoints": "criteria files parallel pytree state text",
    "measure": "checkpoints data defaults files logs metrics set_metrics text",
    "tasks": "augment call_strings checkpoints criteria data files hyperparameters losses measure metrics models "
    "nas parallel pytree quantize set_metrics settings state",
    "predict": "augment checkpoints columns data files heatmaps measure metrics models set_metrics tasks text",
    "runtime": "augment call_strings data files heatmaps measure predict text",  # without JAX
    "report": "checkpoints columns criteria defaults files heatmaps logs measure metrics models text",
    "training": "augment checkpoints columns criteria data defaults files hyperparameters logs losses metrics models "
    "nas optim parallel predict prune pytree quantize report settings sharding state tasks text words",
    "export": "augment checkpoints data files measure metrics models parallel predict pytree quantize report runtime "
    "set_metrics settings tasks text training",
    "serve": "checkpoints data files measure predict report runtime set_metrics text",
    "classical": "augment checkpoints data defaults files logs metrics models parallel settings tasks text training",
    "corrupt": "augment data files metrics parallel settings tasks training",
    "ablate": "defaults files models settings text training",
    "architect": "ablate augment checkpoints choices defaults export files models nas report settings tasks training",
    "tune": "checkpoints choices criteria defaults files logs metrics models pytree report settings training",
}
TOP = {"api", "cli", "estimator", "main", "__main__", "__init__"}  # may use everything; nothing below uses them
HEAVY = {"matplotlib", "sklearn", "tensorflow_datasets", "grain", "tensorboard", "rich", "orbax", "jax", "flax"}


def imports(path):
    """(line, module) of every import in a file, wherever it stands; `from a import b` counts as a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def files():
    """(path, the folder or file at the top of jaxcls that it belongs to)."""
    for path in sorted((ROOT / "jaxcls").rglob("*.py")):
        yield path, path.relative_to(ROOT / "jaxcls").parts[0].removesuffix(".py")


def graph():
    """Module -> modules of jaxcls that it imports, by files: a package counts where it is named itself."""
    modules = {}
    for path, _ in files():
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        modules[name] = path
    edges = {}
    for name, path in modules.items():
        found = ((m if m in modules else m.rpartition(".")[0]) for _, m in imports(path))
        edges[name] = {m for m in found if m in modules and m != name}
    return edges


def test_no_circle_of_files():
    """Lazy imports count, too: a circle that is cut by one of them is a circle."""
    edges = graph()
    while free := [name for name, used in edges.items() if not used]:  # peel off what imports nothing (any more)
        edges = {name: used - set(free) for name, used in edges.items() if name not in free}
    assert not edges, f"in circles, or above them: {sorted(edges)}"


def test_every_part_has_a_rule_and_no_more_than_it_uses():
    used = {}
    for path, part in files():
        words = [module.split(".") for _, module in imports(path)]
        used.setdefault(part, set()).update(w[1] for w in words if w[0] == "jaxcls" and len(w) > 1)
    assert used.keys() == MAY.keys() | TOP
    for part, allowed in MAY.items():
        beyond = used[part] & (MAY.keys() | TOP) - {part, "errors", "types", *allowed.split()}
        assert not beyond, f"{part} may not import {beyond}"
        assert not set(allowed.split()) - used[part], f"{part}: a permission that nobody uses"


def test_rooms_stand_in_layers():
    """The rules themselves have no circle, so the order in which they are written can be read from below."""
    seen = set()
    for part, allowed in MAY.items():
        assert set(allowed.split()) <= seen, f"{part} stands above what it uses"
        seen.add(part)


def test_tensorflow_is_imported_by_what_needs_its_converter_alone():
    found = {p.name for p, _ in files() for _, m in imports(p) if m.split(".")[0] in ("tensorflow", "tf")}
    assert found == {"tflite.py"}


@pytest.mark.parametrize(
    "arguments, absent",
    [
        (["-c", "import jaxcls"], HEAVY | {"tensorflow", "numpy"}),
        (["-m", "jaxcls.main", "--help"], {"tensorflow", "jax", "flax", "orbax", "grain", "matplotlib", "sklearn"}),
        (["-c", "from jaxcls.training import loop, evaluate, build"], {"tensorflow", "matplotlib", "sklearn", "grain"}),
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
