"""The config files that come with jaxcls, by name: `resnet18_cifar10`, `ladders/fashion_small`."""

import ast
from pathlib import Path

from jaxcls.errors import UserError, did_you_mean

_PACKAGE = Path(__file__).resolve().parents[1]
# In an installed package they lie inside of it (jaxcls.configs), in a checkout beside it.
FOLDER = _PACKAGE / "configs" if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent / "configs"
LADDERS = "ladders/"


def names() -> list[str]:
    """All names, recipes before ladders."""
    files = (path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.py"))
    return sorted((name for name in files if "__" not in name), key=lambda name: ("/" in name, name))


def find(name: str) -> Path | None:
    """The file of a name, of a ladder's without its folder, too; None where there is none."""
    known = names()
    for candidate in (name.removesuffix(".py").removeprefix("configs/"), f"{LADDERS}{name}"):
        if candidate in known:
            return FOLDER / f"{candidate}.py"
    return None


def path(name: str) -> Path:
    """The file of a name. Raises UserError, with the nearest, where there is none."""
    if (file := find(name)) is None:
        raise UserError(f"no config that comes with jaxcls is called {name!r}{nearest(name)}")
    return file


def nearest(name: str) -> str:
    """The end of a message about a name that is none."""
    return did_you_mean(Path(name).stem, names()) or "; jaxcls configs lists them"


def headline(name: str) -> str:
    """The first line of a config's docstring."""
    text = ast.get_docstring(ast.parse(path(name).read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]
