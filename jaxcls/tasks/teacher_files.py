"""Teachers that are no run of ours: a model with weights from a file, or untrained for trials."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxcls import models
from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.errors import UserError
from jaxcls.models import pretrained, weight_files
from jaxcls.tasks.networks import Network


def from_file(
    path: str,
    name: str,
    fields: Mapping[str, Any],
    classes: Sequence[str],
    picture: tuple[int, ...],
    preprocessing: Preprocessing,
    dtype: str,
) -> Network:
    """The network of a file of weights (`models.weight_files`), for a teacher.

    Args:
      path: the file, or `hf-hub:ORG/NAME`.
      name, fields: of the model.
      classes: the student's class names; the file must have as many.
      picture: (height, width, channels) as the models see them.
      preprocessing: of the pictures.
      dtype: of the computation.

    Raises:
      UserError: for a file that is missing, damaged, or not of this model.
    """
    what = f"config.distill.teacher={path}"
    model = _create(name, fields, len(classes), dtype)
    if Path(path).is_dir():
        raise UserError(f"{what} is a folder: of a run's workdir the model is known; leave out config.distill.model.")
    file = weight_files.read(path)
    shapes = _shapes(what, model, picture)
    use = pretrained.Use(
        name,
        preprocessing.mean,
        preprocessing.std,
        preprocessing.transforms,
        tuple(map(str, classes)),
        field="--config.distill.fields='(\"{}={}\",)'",
        model="--config.distill.model={}",
        data="--config.distill.{}={}",
    )
    weights, report = pretrained.match(model, shapes, file, use)
    if report.kept:
        tensor, reason = next(iter(report.kept.items()))
        raise UserError(f"{what}: there is no {tensor} for {len(classes):,} classes in it ({reason}).")
    source = {"model": name, "sha256": file.sha256}
    return _teacher(f"{name} from {path}", name, model, weights, classes, preprocessing, source)


def from_seed(
    seed: int,
    name: str,
    fields: Mapping[str, Any],
    classes: Sequence[str],
    picture: tuple[int, ...],
    preprocessing: Preprocessing,
    dtype: str,
) -> Network:
    """An untrained network, for trials of a config; arguments as of `from_file`, with a seed for the file."""
    model = _create(name, fields, len(classes), dtype)
    _shapes("config.distill.teacher=init", model, picture)
    init = jax.jit(lambda key: model.init(key, jnp.zeros((2, *picture)), train=False))
    variables = jax.device_get(init(jax.random.fold_in(jax.random.key(seed), 0x7EAC)))
    source = {"model": name, "seed": seed}
    return _teacher(f"{name}, untrained", name, model, variables, classes, preprocessing, source)


def _teacher(title, name, model, variables, classes, preprocessing, source):
    return Network(title, name, model, variables, tuple(map(str, classes)), preprocessing, source=source)


def _create(name, fields, classes, dtype):
    try:
        return models.create(name, num_classes=classes, dtype=dtype, **fields)
    except UserError as error:
        raise UserError(f"config.distill.model: {error}") from error


def _shapes(what, model, picture):
    """The variables of a model as shapes. Raises UserError where it does not take such pictures."""
    image = jax.ShapeDtypeStruct((2, *picture), jnp.float32)
    try:
        return jax.eval_shape(lambda key, x: model.init(key, x, train=False), jax.random.key(0), image)
    except Exception as error:  # models raise whatever they like for shapes that do not fit
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{what} does not take pictures of {picture}: {reason}") from error
