"""Whatever jaxcls tells people to type is a command that exists, wherever they stand."""

import ast
import re
from pathlib import Path

from jaxcls.cli.verbs import VERBS

ROOT = Path(__file__).resolve().parents[2]
PROSE = {"can", "did", "from", "has", "is", "itself", "noted", "show", "stands"}  # sentences; show_augment marks a file


def texts():
    """(place, text) of every string in jaxcls, docstrings and the fixed parts of f-strings included."""
    for path in sorted((ROOT / "jaxcls").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value


def test_hints_name_verbs_that_exist():
    words = [(place, word) for place, text in texts() for word in re.findall(r"\bjaxcls ([a-z][a-z-]*)", text)]
    assert len(words) > 100
    assert [(place, word) for place, word in words if word not in VERBS and word not in PROSE] == []


def test_hints_work_without_a_checkout_and_without_a_registry():
    """No script of the repository but the benchmarks, and for extras the package that is missing, never jaxcls."""
    pattern = r"(?:python )?scripts/(?!bench/)\S+|pip install (?:-e|jaxcls)\S*"
    assert [(place, hint) for place, text in texts() for hint in re.findall(pattern, text)] == []
