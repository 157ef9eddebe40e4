"""A model with its weights, for a teacher or a probe: of a run's checkpoint, of published weights, or random."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxcls import models
from jaxcls.checkpoints import view
from jaxcls.errors import UserError
from jaxcls.models import pretrained, weight_files
from jaxcls.types import PathLike, PyTree


class Network(NamedTuple):
    """A model with its weights.

    Attributes:
      title: a few words for people: which model, from where.
      model: the Linen module.
      variables: its collections, host arrays.
      normalize: (mean, std) of its pictures, or None for those of the student.
      source: what its outputs depend on, as JSON: names and a SHA-256.
    """

    title: str
    model: Any
    variables: PyTree
    normalize: tuple[Sequence[float], Sequence[float]] | None
    source: dict[str, Any]


def from_run(path: PathLike, classes: Sequence[str], dtype: str, what: str | None = None) -> Network:
    """The network of a run's workdir (its best checkpoint, the newest where none is best) or of one step's folder.

    Averaged weights are taken where there are any. Model, classes and normalisation are in the checkpoint.

    Args:
      path: the folder.
      classes: the student's class names.
      dtype: of the computation.
      what: how messages call the run; None for the setting that names a teacher.

    Raises:
      UserError: where there is no good checkpoint, or its classes are not the student's.
    """
    what = what or f"config.distill.teacher={path}"
    if Path(path).is_file():
        raise UserError(f"{what} is a file of weights: name its model in config.distill.model.")
    try:
        folder = view.best_step(path)
        if problems := view.verify(folder):
            raise UserError(f"{folder} is damaged ({problems[0]}); choose another step")
        meta = view.read_meta(folder)
        section, names = meta["config"]["model"], list(meta["classes"])
        normalize = tuple(meta["normalize"]["mean"]), tuple(meta["normalize"]["std"])
        model = models.create(
            section["name"], num_classes=len(names), neck=section.get("neck", ""), dtype=dtype, **section["fields"]
        )
    except UserError as error:
        raise UserError(f"{what}: {error}") from error
    except (KeyError, TypeError) as error:
        raise UserError(f"{what}: {folder} does not say what model it is of ({error}); choose another.") from error
    _check_classes(what, names, [str(name) for name in classes])
    digest = hashlib.sha256(view.manifest_path(folder).read_bytes()).hexdigest()
    title = f"{section['name']} from step {folder.name} of {folder.parents[1]}"
    variables, _ = view.read_variables(folder)
    return Network(title, model, variables, normalize, {"model": section["name"], "sha256": digest})


def _check_classes(what, theirs, ours):
    if len(theirs) != len(ours):
        raise UserError(f"{what} knows {len(theirs):,} classes, the student {len(ours):,}; they must be the same.")
    if theirs != ours and sorted(theirs) == sorted(ours):
        raise UserError(f"{what} has the student's classes in another order; train it on the same set.")


def from_file(
    path: str,
    name: str,
    fields: Mapping[str, Any],
    classes: Sequence[str],
    picture: tuple[int, ...],
    normalize: tuple[Sequence[float], Sequence[float]] | None,
    dtype: str,
) -> Network:
    """The network of a file of weights (`models.weight_files`).

    Args:
      path: the file, or `hf-hub:ORG/NAME`.
      name, fields: of the model.
      classes: the student's class names; the file must have as many.
      picture: (height, width, channels) as the models see them.
      normalize: (mean, std), or None for the student's.
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
    weights, report = pretrained.match(model, shapes, file)
    if report.kept:
        tensor, reason = next(iter(report.kept.items()))
        raise UserError(f"{what}: there is no {tensor} for {len(classes):,} classes in it ({reason}).")
    return Network(f"{name} from {path}", model, weights, normalize, {"model": name, "sha256": file.sha256})


def from_seed(
    seed: int,
    name: str,
    fields: Mapping[str, Any],
    classes: Sequence[str],
    picture: tuple[int, ...],
    normalize: tuple[Sequence[float], Sequence[float]] | None,
    dtype: str,
) -> Network:
    """An untrained network, for trials of a config; arguments as of `from_file`, with a seed for the file."""
    model = _create(name, fields, len(classes), dtype)
    _shapes("config.distill.teacher=init", model, picture)
    init = jax.jit(lambda key: model.init(key, jnp.zeros((2, *picture)), train=False))
    variables = jax.device_get(init(jax.random.fold_in(jax.random.key(seed), 0x7EAC)))
    return Network(f"{name}, untrained", model, variables, normalize, {"model": name, "seed": seed})


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


def check_pictures(teacher: Network, picture: tuple[int, ...], classes: int) -> None:
    """The teacher takes such pictures, and gives as many logits as there are classes.

    Raises:
      UserError: where that is not so.
    """
    image = jax.ShapeDtypeStruct((2, *picture), jnp.float32)
    try:
        logits, _ = jax.eval_shape(lambda v, x: teacher.model.apply(v, x, train=False), teacher.variables, image)
    except Exception as error:  # as above
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the teacher {teacher.title} does not take pictures of {picture}: {reason}") from error
    if logits.shape[-1] != classes:
        raise UserError(f"the teacher {teacher.title} gives {logits.shape[-1]} logits for {classes} classes.")
