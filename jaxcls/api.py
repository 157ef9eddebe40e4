"""What `import jaxcls` offers by itself: training and loading, as functions."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxcls.errors import UserError
from jaxcls.types import Figures, PathLike

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from jaxcls.predict.predictor import Predictor
    from jaxcls.runtime.predictor import FilePredictor


def load(workdir: PathLike, step: int | None = None) -> "Predictor | FilePredictor":
    """A trained model as a function of pictures: that of a run's best checkpoint, the newest where none is best.

    Args:
      workdir: folder of a run (of one with folds, whose probabilities are averaged), or of one step; or a file,
        MODEL.onnx or MODEL.tflite, which then answers without JAX (jaxcls.runtime.predictor.FilePredictor); `~` is the
        home folder.
      step: of a run, another of its checkpoints. Its files are compared with their digests first, which tells of damage
        and not of someone who rewrote both.

    Raises:
      UserError: where there is no checkpoint that can be read, or the file's runtime refuses it.
    """
    from jaxcls.files import expanded
    from jaxcls.runtime.session import is_file

    path = expanded(os.fspath(workdir))
    if is_file(path):
        from jaxcls.runtime.predictor import FilePredictor

        if step is not None:
            raise UserError(f"{path} is a file, of one step; leave step={step} out, or give the run.")
        return FilePredictor.load(path)
    from jaxcls.predict import folds

    return folds.load(path, step)


def train(
    config: "str | ConfigDict | None" = None,
    *,
    data: "str | Mapping[str, Any] | None" = None,
    workdir: PathLike | None = None,
    folds: int | None = None,
    allow_changed_data: bool = False,
    max_time: str | None = None,
    **settings: Any,
) -> dict[str, Figures]:
    """Trains, or goes on with a run that was stopped; what `jaxcls train` does.

    Args:
      config: the name of a config that comes with jaxcls, a file, or a ConfigDict (jaxcls.defaults). None: the one that
        the run in `workdir` has stored, or where `data` is given and no run is there, one that is chosen for it
        (docs/recipes.md).
      data: a folder of pictures, or what config.data.name takes; or pictures in memory: split -> (images, labels), as
        of `jaxcls.data.from_arrays`, or -> source (jaxcls.data.base). A run of them goes on with the same ones.
      workdir: default runs/<name of the config, or of the data>; `~` is the home folder.
      folds: so many runs, each without one of as many folds of the pictures; `workdir` then answers by the mean of all
        (docs/running.md). None: as many as the run in `workdir` has.
      allow_changed_data: whether a run goes on though its pictures are not those that it began with.
      max_time: "3h", "90m", "2d": it stops then as by a signal, and the same call goes on.
      settings: keys of the config with their values: `batch_size=32`, `optim={"momentum": 0.8}`, or with dots,
        `**{"optim.momentum": 0.8}`.

    Returns:
      split -> figures of the final evaluation (accuracy, loss, count, ...); with folds those of all together, and in
      "folds" mean, standard deviation and values of each.

    Raises:
      UserError: for a mistake in the config, the data or the settings.
      Stopped: by SIGTERM, Ctrl-C or `max_time`, once the state is saved.
    """
    from ml_collections import ConfigDict

    from jaxcls.checkpoints import names
    from jaxcls.cli import arguments, run_config
    from jaxcls.data import arrays
    from jaxcls.settings import config_file
    from jaxcls.training import begin_chosen, deadline, folding

    moment = deadline.after(max_time)
    name = None if data is None else arguments.data_name(data) if isinstance(data, str) else arrays.NAME
    place = None if workdir is None else os.fspath(workdir)
    if config is None and (new := run_config.to_choose(None, place, name)):
        pairs = [*flat(settings), ("data.name", str(name))]
        with _in_memory(data):
            count = folding.wanted(folds, new)
            return begin_chosen.run(pairs, Path(new), folds=count, allow_changed=allow_changed_data, deadline=moment)
    if isinstance(config, ConfigDict):
        if workdir is None:
            raise UserError("a config that is no file has no name for its workdir; give workdir=...")
        chosen, folder = config.copy_and_resolve_references(), arguments.expanded(os.fspath(workdir))
        names.check(folder)
    else:
        chosen, folder = run_config.read(config, run_config.default(config, place, name))
    with _in_memory(data):
        if data is not None:
            settings["data.name"] = name
        config_file.override(chosen, list(flat(settings)))
        count = folding.wanted(folds, folder)
        return folding.started(chosen, Path(folder), count, allow_changed=allow_changed_data, deadline=moment)


@contextlib.contextmanager
def _in_memory(data: Any) -> Iterator[None]:
    """Within, the pictures that were given in memory are found; nothing for a name."""
    if data is None or isinstance(data, str):
        yield
        return
    from jaxcls.data import arrays

    if not isinstance(data, Mapping):
        raise UserError('data must be a name, or {"train": (images, labels), "test": ...} of pictures in memory.')
    pairs = any(isinstance(value, tuple | list) for value in data.values())
    with arrays.holding(arrays.from_arrays(data) if pairs else data):
        yield


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(path, text) of nested settings, as `config_file.override` takes them."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else repr(value)
