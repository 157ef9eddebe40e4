"""Everything public says what it takes and gives: the type checker of CI checks what is annotated, this that all is."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "jaxcls"


def public(body, prefix=""):
    """(name, function) of the public functions of a module and of the public methods of its public classes."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public(node.body, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and (
            not node.name.startswith("_") or node.name in ("__init__", "__call__")
        ):
            yield f"{prefix}{node.name}", node


def missing(function, method):
    """The parts of a function's signature without an annotation."""
    arguments = function.args
    names = [*arguments.posonlyargs, *arguments.args][1 if method and not is_static(function) else 0 :]
    names += [*arguments.kwonlyargs, *filter(None, (arguments.vararg, arguments.kwarg))]
    return [a.arg for a in names if a.annotation is None] + ([] if function.returns is not None else ["return"])


def is_static(function):
    return any(getattr(d, "id", None) == "staticmethod" for d in function.decorator_list)


@pytest.mark.parametrize(
    "room", sorted(p.name for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists())
)
def test_public_signatures_are_annotated(room):
    path, bare = ROOT / room, []
    for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
        for name, function in public(ast.parse(file.read_text()).body):
            if lacking := missing(function, "." in name):
                if name.endswith("__init__") and lacking == ["return"]:
                    continue  # it is None
                bare.append(f"{file.relative_to(ROOT)}:{function.lineno}: {name}: {', '.join(lacking)}")
    assert not bare, "\n".join(bare)
