"""Loads the files in scripts/, which are no package."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def load(name: str) -> ModuleType:
    """The module of a file in scripts/, such as "bench/step.py".

    While it is loaded its folder comes first among those of modules, as for a script that Python runs.
    """
    path = SCRIPTS / name
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


def run_json(script: ModuleType, capsys: Any, arguments: str) -> dict[str, Any]:
    """What a benchmark prints with --json; it must have lines of text for it, too."""
    assert script.main([*arguments.split(), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(list(script.lines(result))) >= 3
    return result
