"""The config that a command line means: of a file, of a name, or of a run, with its settings."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcls import files
from jaxcls.checkpoints import names
from jaxcls.cli.arguments import expanded
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
        raise UserError("give --config=NAME (jaxcls configs lists them), or --workdir=... of an earlier run.")
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
