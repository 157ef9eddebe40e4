"""The config that a command line means: of a file, of a name, or of a run, with its settings."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcls import files
from jaxcls.checkpoints import names
from jaxcls.cli.arguments import expanded
from jaxcls.data import query
from jaxcls.errors import UserError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

Settings = Sequence[tuple[str, str]]


def read(config: str | None, workdir: str | None, settings: Settings = ()) -> tuple["ConfigDict", str]:
    """(config, workdir). Without a config the workdir's own is used, which its run has stored.

    Args:
      config: a file or the name of one (`settings.config_file`), with `:arg` where it takes one.
      workdir: default runs/<config name>.
      settings: (key, text) pairs of `--config.key=text`, in order.

    Raises:
      UserError: where neither is given, or there is a mistake in the config or a setting.
    """
    if config is None and workdir is None:
        raise UserError(
            "give --data=PATH, for which train chooses a recipe, --config=NAME (jaxcls configs lists them), or "
            "--workdir=... of an earlier run."
        )
    from jaxcls.settings import config_file

    workdir = workdir and expanded(workdir)
    names.check(workdir or "")
    if config is not None:
        made = config_file.load(expanded(config))
        workdir = workdir or f"runs/{Path(config_file.split(config)[0]).stem}"
    else:
        assert workdir is not None
        made = stored(workdir)
    config_file.override(made, settings)
    return made, workdir


def to_choose(config: str | None, workdir: str | None, data: str | None) -> str | None:
    """The workdir of a run for which a recipe is to be chosen; None where it has one.

    That is where no config is given, but data, and in the workdir (default runs/<name of the data>) no run has begun.
    """
    if config is not None or not data:
        return None
    folder = expanded(default(config, workdir, data) or "")
    names.check(folder)
    return None if (Path(folder) / "config.json").exists() else folder


def default(config: str | None, workdir: str | None, data: str | None) -> str | None:
    """The workdir that is meant, where data is all that was given: that of the run which was begun so."""
    return of_data(data) if config is None and workdir is None and data else workdir


def of_data(data: str) -> str:
    """The default workdir of a run without a config, such as runs/pictures for folder/my/pictures/."""
    path = query.path(data)
    if path is None:
        return f"runs/{Path(data.partition('?')[0]).name}"
    name = Path(os.path.abspath(path))
    return f"runs/{(name.name if data.startswith('folder/') else name.stem) or 'pictures'}"


def stored(workdir: str | Path) -> "ConfigDict":
    """The config that a run has left in its workdir.

    Raises:
      UserError: where there is none, or it is damaged.
    """
    from ml_collections import ConfigDict

    path = Path(workdir) / "config.json"
    try:
        return ConfigDict(json.loads(files.read_bytes(path)), convert_dict=True)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{workdir} holds no run (no {path}); give --config=NAME too, or another folder.") from None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} can't be read ({error}); give --config=NAME too.") from error
