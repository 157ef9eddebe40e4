"""What a k-fold run has produced: the networks of its folds."""

from jaxcls.checkpoints import folds
from jaxcls.errors import UserError
from jaxcls.tasks import networks
from jaxcls.tasks.networks import Network
from jaxcls.types import PathLike


def from_folds(path: PathLike, step: int | None = None) -> list[Network]:
    """The networks of a k-fold run's folds, each of its best checkpoint; [] for what is no such run.

    Args:
      path: the workdir.
      step: what was asked for; a k-fold run has no steps of its own.

    Raises:
      UserError: where folds are not done, can't be read or do not fit together.
    """
    workdirs = folds.finished(path)
    if workdirs and step is not None:
        raise UserError(f"{path} has {len(workdirs)} folds and no step {step}; leave it out, or give {workdirs[0]}.")
    found = [networks.from_run(workdir) for workdir in workdirs]
    for network, workdir in zip(found[1:], workdirs[1:], strict=True):
        alike = ("model", "classes", "preprocessing", "output", "views", "mean")
        if other := [name for name in alike if getattr(network, name) != getattr(found[0], name)]:
            raise UserError(f"{workdir} and {workdirs[0]} have another {other[0]}: they are no folds of one run.")
    return found
