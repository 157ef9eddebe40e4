"""What a config leaves to the weights that it starts from: the model and its fields, normalisation, size and crop.

It is written into the config before anything is built of it, so that what a run stores says everything.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxcls import files, models
from jaxcls.errors import UserError
from jaxcls.models import hub, weights
from jaxcls.models.origin import Says
from jaxcls.settings.reader import resolve
from jaxcls.training import run_weights
from jaxcls.training.model import REQUIRED, required
from jaxcls.training.transforms import NORMALIZE
from jaxcls.types import PathLike

LEFT = "weights"  # as config.data.normalize, a part of config.data.eval_transform, a size in config.data.augment
SIZE = 224  # of pictures where nothing says another
_CLOSE = 1e-4  # between normalisations: texts round them
_LISTS = ("augment", "augment_second", "eval_transform")
_SIZES = {"s": "small", "b": "base", "l": "large"}
_WORD = re.compile(rf"\b{LEFT}\b")


def resolved(config: Mapping[str, Any], workdir: PathLike | None = None, *, trains: bool = True) -> ConfigDict:
    """The config with every default filled in (`settings.reader.resolve`), and with what it leaves to its weights.

    Left are `config.model.name` where it is empty, `weights` as config.data.normalize, as config.data.eval_transform,
    and in place of a number of pixels in the lists of transforms. Weights by name (`models.weights`) get their whole
    name, and the fields of the model that they want unless those are set.

    Args:
      config: a config (defaults.py).
      workdir: of a run that may have begun: then its own config says it, and the weights may be gone.
      trains: whether a model is built; else missing weights are no mistake, and nothing is fetched for one.

    Raises:
      UserError: for weights that there are not, or of another model; a model that nothing names.
    """
    full = resolve(config)
    name = full.model.pretrained
    if name == REQUIRED:
        if trains:
            raise UserError(required())
        name = ""
    row = weights.find(name, full.model.name) if name else None
    if row is not None:
        full.model.pretrained = name = row.name
        _of_row(full, row)
    if not left(full):
        return full
    says = row.says if row else _stored(full, workdir) or (_says(name) if name and trains else Says())
    if not full.model.name and trains:
        full.model.name = says.models[0] if says.models else _guessed(name)
        _fields(full, says.fields)
    _pictures(full, says)
    return full


def left(config: ConfigDict) -> list[str]:
    """The keys of a resolved config that weights have to say."""
    lists = [f"data.{key}" for key in _LISTS if any(_WORD.search(str(part)) for part in config.data[key])]
    return ["model.name"] * (not config.model.name) + ["data.normalize"] * (config.data.normalize == LEFT) + lists


def _of_row(config, row):
    """The model of weights that are named, and its fields. Raises UserError where another is set."""
    if config.model.name and config.model.name not in row.says.models:
        raise UserError(
            f"{row.name} are weights of {row.model}, not of {config.model.name}; use --config.model.name={row.model} "
            f"or weights of {config.model.name} (jaxcls models --pretrained '{config.model.name}*')"
        )
    config.model.name = config.model.name or row.model
    _fields(config, row.fields)


def _fields(config, fields):
    with config.model.fields.unlocked():
        config.model.fields.update({key: value for key, value in fields.items() if key not in config.model.fields})


def _says(name):
    """What a source says of itself: a file, a folder, a place on the hub or a run."""
    found = weights.located(name.removeprefix(hub.PREFIX)) if name.startswith(hub.PREFIX) else None
    return found.says if found else run_weights.read(name).says


def _stored(config, workdir):
    """What the run in a workdir took of the same weights; None without one."""
    before = files.read_json(Path(workdir) / "config.json") if workdir else None
    if not isinstance(before, dict) or before.get("model", {}).get("pretrained") != config.model.pretrained:
        return None
    model, data = before["model"], before.get("data", {})
    try:
        mean, std = (data["mean"], data["std"]) if data["mean"] else NORMALIZE[data["normalize"]]
        transforms = tuple(data["eval_transform"])
    except (KeyError, TypeError):
        return None
    names, moments = (model["name"],), {"mean": tuple(mean), "std": tuple(std)}
    return Says(models=names, fields=model["fields"], transforms=transforms, **moments)


def model_named(file: str) -> str:
    """The model that the name of a file begins with, such as squeezenet1_1-b8a52dc0.pth, or that such a file of DINOv2
    or DINOv3 is of; "" without one."""
    if found := re.match(r"dinov2_vit([sbl])14(_reg4)?_pretrain", file):
        return f"vit_{_SIZES[found[1]]}_patch14{found[2] or ''}_dinov2"
    if found := re.match(r"dinov3_vit([sb])16_pretrain", file):  # the biases of the larger one are zeros
        return f"vit_{_SIZES[found[1]]}_patch16_dinov3{'_qkvb' if found[1] == 's' else ''}"
    known = sorted(models.list_models(), key=len, reverse=True)
    return next((model for model in known if re.match(rf"{re.escape(model)}([-_.]|$)", file)), "")


def _guessed(name):
    """The model by the file's name; a wrong one does not fit."""
    if model := model_named(Path(name).name):
        return model
    why = f"{name} does not say of which net it is" if name else "there are no weights to say it"
    raise UserError(f"config.model.name is empty and {why}; add --config.model.name=NAME (jaxcls models lists them)")


def _pictures(config, says):
    """Normalisation, sizes and the crop of evaluation; ImageNet's usual ones where nothing is said."""
    data = config.data
    crops = [int(found[1]) for part in says.transforms if (found := re.fullmatch(r"center_crop\((\d+)\)", part))]
    size = crops[-1] if crops else SIZE
    if data.normalize == LEFT:
        data.normalize = "unit" if data.mean else "imagenet"
        if says.mean and says.std and not data.mean:
            _normalize(data, says)
    usual = says.transforms or (f"resize({size * 8 // 7})", f"center_crop({size})")
    if LEFT in data.eval_transform:
        parts = [usual if part == LEFT else (part,) for part in data.eval_transform]
        data.eval_transform = tuple(part for several in parts for part in several)
    for key in _LISTS:
        data[key] = tuple(_WORD.sub(str(size), str(part)) for part in data[key])


def _normalize(data, says):
    for name, moments in NORMALIZE.items():
        if all(_close(*pair) for pair in zip(moments, (says.mean, says.std), strict=True)):
            data.normalize = name
            return
    data.normalize = "unit"
    data.mean, data.std = says.mean, says.std


def _close(ours, theirs):
    return len(ours) in (1, len(theirs)) and np.allclose(ours, theirs, rtol=0, atol=_CLOSE)
