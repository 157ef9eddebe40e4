"""Writers beside the files of the workdir, by the names that `config.log_to` takes: services that compare runs.

Another one is a class with the methods of `records.Writer`, a function that checks what it needs, and a line here.
"""

import importlib.util
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from jaxcls.errors import Problems, UserError, did_you_mean
from jaxcls.logs import mlflow_writer, wandb_writer


class Tracker(NamedTuple):
    """How a writer is made, and what must be there."""

    package: str  # what is imported
    make: Callable[..., Any]  # (workdir, start_step, config) -> a Writer
    check: Callable[[], None]  # raises UserError where it could not start here


TRACKERS = {
    "wandb": Tracker("wandb", wandb_writer.WandbWriter, wandb_writer.check),
    "mlflow": Tracker("mlflow", mlflow_writer.MlflowWriter, mlflow_writer.check),
}


def check_writers(names: Iterable[str]) -> None:
    """Whether the writers of `config.log_to` are known, installed and set up. Asks no server; wandb is imported.

    Raises:
      UserError: with a line for each that is not.
    """
    problems = Problems()
    for name in dict.fromkeys(map(str, names)):
        with problems.noted():
            _check(name)
    problems.refuse()


def _check(name):
    if name not in TRACKERS:
        hint = did_you_mean(name, list(TRACKERS)) or f"; it can have {', '.join(TRACKERS)}."
        raise UserError(f"config.log_to has {name!r}{hint}")
    if not installed(TRACKERS[name].package):
        raise UserError(f"config.log_to={name} needs a package that is not installed: pip install 'jaxcls[{name}]'")
    TRACKERS[name].check()


def installed(package: str) -> bool:
    """Whether a package can be imported, without doing so.

    A mere folder of that name in the current one, as wandb makes it for its files, counts as a package for Python, but
    has no origin.
    """
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None
