"""config.prune: which channels go of the weights that a run starts from, before it begins."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcls import files, losses
from jaxcls.errors import UserError, listed
from jaxcls.models import pretrained
from jaxcls.models.basis import Use
from jaxcls.models.weight_files import WeightFile
from jaxcls.prune import groups as grouping
from jaxcls.prune import kept as keeping
from jaxcls.prune.pruned import Pruned
from jaxcls.prune.select import Arrays, Settings, select
from jaxcls.pytree import flatten_names
from jaxcls.quantize.quantised import in_float
from jaxcls.training import run_weights
from jaxcls.training.data import Data
from jaxcls.types import PathLike

TARGETS = ("ratio", "macs", "params")
PICTURES, BATCH = 1024, 32  # of which the gradients of importance "taylor" are taken


class NothingGoes(UserError):
    """Settings that take no channel away."""


def kept(reader: Any, module: Any, data: Data, workdir: PathLike | None = None) -> dict[str, str]:
    """What is kept of a run's model, group -> bits (`prune.kept`); {} for all of it.

    config.model.kept itself, where it is given. Else what config.prune leaves of the weights config.model.pretrained,
    or what a run in `workdir` with the same settings has chosen before; and without config.prune what is kept of the
    run that config.model.pretrained names.

    Raises:
      UserError: for settings that can't be, weights that are missing or fit no such model.
    """
    settings, source = read(reader), reader.model.pretrained
    if given := keeping.of_lines(reader.model.kept):
        of_section(reader)  # a record, and not without effect
        return given
    if workdir is not None and (stored := _stored(workdir, reader)):
        return stored
    before = run_weights.kept_of(source)
    if settings is None:
        return before
    refuse_int8(source)
    if not source:
        raise UserError(
            "config.prune takes channels away from trained weights, and none are named: set config.model.pretrained, "
            "or use `jaxcls prune RUN`."
        )
    return chosen(module, data, source, settings, before)


def refuse_int8(source: str) -> None:
    """Raises UserError for a run that was trained for INT8: its ranges would not be those of a smaller net."""
    if run_weights.is_run(source) and run_weights.spec_of(source).get("quantize"):
        raise UserError(
            f"{source} was trained for INT8; prune the float run that it started from, then train that for INT8."
        )


def read(reader: Any) -> Settings | None:
    """The settings of config.prune; None where nothing goes. Raises UserError."""
    section = reader.prune
    asked = [key for key in TARGETS if getattr(section, key)]
    if len(asked) > 1:
        names = listed([f"config.prune.{key}" for key in asked])
        raise UserError(f"{names} exclude each other: give one.")
    return of_section(reader) if asked else None


def of_section(reader: Any) -> Settings:
    """The settings of config.prune."""
    section = reader.prune
    return Settings(
        **{key: getattr(section, key) for key in TARGETS},
        importance=section.importance,
        scope=section.scope,
        floor=section.floor,
        multiple=section.multiple,
        keep=tuple(section.keep),
        seed=reader.seed,
    )


def chosen(
    module: Any,
    data: Data,
    source: str,
    settings: Settings,
    before: Mapping[str, str],
    start: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """What the settings leave of the weights `source`, of which `before` is kept already; `start` as of `select`.

    Raises:
      UserError: for settings that can't be.
      NothingGoes: where they leave all, and no earlier round has taken anything.
    """
    weights = whole(module, data, source)
    gradients = gradients_of(module, data, weights) if settings.importance == "taylor" else None
    found = select(
        grouping.find(module, data.picture), flatten_names(weights), settings, before=before, start=start,
        gradients=gradients,
    )  # fmt: skip
    if found == dict(before) and (start is None or before == start):
        raise NothingGoes(
            f"nothing goes with these settings: groups are rounded up to multiples of {settings.multiple}; raise the "
            "ratio, or lower config.prune.multiple."
        )
    return found


def whole(module: Any, data: Data, source: str) -> Any:
    """The module's variables with the weights `source`; zeros for what these have not (a new last layer)."""
    shapes = whole_shapes(module, data.picture)
    weights, _ = pretrained.match(module, shapes, run_weights.read(source))
    return pretrained.merge(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes), weights)


def match(
    model: Any, shapes: Any, file: WeightFile, use: Use, picture: tuple[int, ...]
) -> tuple[Any, pretrained.Report]:
    """`pretrained.match`; of a pruned model the weights of the whole one, cut to what is kept. Raises UserError."""
    model, shapes = in_float(model, shapes)
    if not isinstance(model, Pruned):
        return pretrained.match(model, shapes, file, use)
    weights, report = pretrained.match(model.module, whole_shapes(model.module, picture), file, use)
    return model.small(weights, picture), report


def whole_shapes(module: Any, picture: tuple[int, ...]) -> Any:
    """Of a module's variables."""
    image = jax.ShapeDtypeStruct((2, *picture), jnp.float32)
    return jax.eval_shape(lambda key, x: module.init(key, x, train=False), jax.random.key(0), image)


def gradients_of(module: Any, data: Data, variables: Any) -> Arrays:
    """Name -> gradient of the mean cross entropy (of sets of labels the binary one) of training pictures (PICTURES of
    them, evenly spread), as evaluation prepares them, BatchNorm in inference mode. Raises UserError for pictures
    without labels."""
    source, prepare = data.sources["train"], data.evaluation
    if not data.labelled:
        raise UserError("importance taylor needs labels, and these pictures have none; use l1.")
    rows = np.linspace(0, len(source) - 1, min(PICTURES, len(source))).round().astype(int)
    rest = {name: tree for name, tree in variables.items() if name != "params"}

    def loss(params, images, labels):
        logits, _ = module.apply({"params": params, **rest}, prepare.device(images), train=False)
        of = losses.cross_entropy if labels.ndim == 1 else losses.binary_cross_entropy
        return jnp.sum(of(logits, labels))

    step, total = jax.jit(jax.grad(loss)), None
    for first in range(0, len(rows), BATCH):
        items = [source[int(row)] for row in rows[first : first + BATCH]]
        images = np.stack([prepare.host(item["image"], item["id"], None) for item in items])
        labels = np.array([source.labels[row] for row in rows[first : first + BATCH]])
        found = step(variables["params"], images, labels)
        total = found if total is None else jax.tree.map(jnp.add, total, found)
    return {f"params/{name}": np.asarray(leaf) / len(rows) for name, leaf in flatten_names(total).items()}


def _stored(workdir, reader):
    """What the run in a workdir keeps; {} where there is none. Raises UserError where it was pruned otherwise."""
    path = Path(workdir) / "config.json"
    try:
        config = json.loads(files.read_bytes(path))
        found, settings = keeping.of_lines(config["model"]["kept"]), config["prune"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    ours = json.loads(json.dumps(reader.config.prune.to_dict()))
    if found and settings != ours:
        raise UserError(
            f"{workdir} was pruned with other settings (config.prune in its config.json); choose another workdir, or "
            "give those."
        )
    return found
