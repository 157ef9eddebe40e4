"""What a source of weights says of itself: timm's `config.json`, metadata of safetensors, settings in a checkpoint.

A file's tensors show neither padding nor BatchNorm's epsilon, nor how pictures were normalised.
"""

import itertools
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxcls import files
from jaxcls.errors import UserError
from jaxcls.models import architectures

CONFIG = "config.json"
OWN = "jaxcls"  # in a config.json that `jaxcls push` has written: what timm's form has no place for
_LONGEST_CONFIG = 4 * 2**20  # bytes; the names of 20,000 classes have less than a tenth
# Of a training script's settings, those that are looked at.
_PICTURE = {"input_size", "img_size", "crop_pct", "interpolation", "mean", "std", "label_names"}
_HARMLESS = {"drop_rate", "drop_path_rate", "img_size", "in_chans", "num_classes", "pretrained",
             "dynamic_img_size", "strict_img_size", "scriptable", "exportable", "features_only"}  # fmt: skip
FILTERS = ("bicubic", "nearest")  # beside the bilinear one, which is the default
_ARGUMENTS = {"bn_eps": "epsilon", "channel_multiplier": "width_mult", "window_size": "window_size"}


class Says(NamedTuple):
    """Empty where nothing is said.

    Attributes:
      where: what said it, for messages.
      architecture: as it is called there; `models`: ours that have its tensors, () where it is none of them.
      fields: of our model, as the weights want them: what no tensor shows.
      foreign: what else is said of the net, of which we have nothing.
      mean, std: of the normalisation, on the scale of [0, 1].
      pictures: size, crop and filter, in words.
      classes: their names, in the order of the logits.
      note: what was found and could not be used, or has to be known.
      licence: of the weights, as it is called there.
      transforms: what they want of a picture, as config.data.eval_transform has it.
    """

    where: str = ""
    architecture: str = ""
    models: tuple[str, ...] = ()
    fields: Mapping[str, Any] = {}
    foreign: Mapping[str, Any] = {}
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    pictures: str = ""
    classes: tuple[str, ...] = ()
    note: str = ""
    licence: str = ""
    transforms: tuple[str, ...] = ()


def of_config(path: Path) -> Says:
    """What the `config.json` beside weights says, in timm's form (of its hub, or of `timm.models.push_to_hf_hub`).

    Raises:
      UserError: one line, for a file that is damaged, or says that the weights are of the library transformers.
    """
    try:
        config = json.loads(files.read_bytes(path, _LONGEST_CONFIG))
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:80]
        raise UserError(f"its {CONFIG} can't be read ({reason}); get it again") from error
    if not isinstance(config, dict):
        raise UserError(f"its {CONFIG} is no JSON object; get it again")
    name = config.get("architecture")
    if not isinstance(name, str):
        if theirs := config.get("architectures") or config.get("model_type"):
            theirs = ", ".join(map(str, theirs)) if isinstance(theirs, list) else theirs
            raise UserError(
                f"its {CONFIG} is of the library transformers ({theirs!s:.100}), whose tensors have other names; "
                "take the weights of the same net from timm or torchvision"
            )
        return Says(note=f"its {CONFIG} names no architecture and was not used")
    inner = config.get("pretrained_cfg")
    picture = {**config, **(inner if isinstance(inner, dict) else {})}
    arguments, licence = config.get("model_args"), picture.get("license")
    told = _timm(f"its {CONFIG}", name, picture, arguments if isinstance(arguments, dict) else {})
    told = _pushed(told, config.get(OWN))
    return told._replace(licence=licence[:100] if isinstance(licence, str) else "")


def _pushed(told, own):
    """What `jaxcls push` wrote beside timm's form: a model and fields of ours, and the transforms themselves."""
    if not isinstance(own, dict) or not isinstance(own.get("model"), str):
        return told
    fields, transforms = own.get("fields"), own.get("eval_transform")
    return told._replace(
        models=(own["model"],),
        fields=fields if isinstance(fields, dict) else {},
        transforms=tuple(map(str, transforms)) if isinstance(transforms, list) else told.transforms,
    )


def of_metadata(metadata: Any) -> Says:
    """What the metadata of a safetensors file says, where `jaxcls export` wrote it; else nothing."""
    metadata = metadata if isinstance(metadata, dict) else {}
    told = {key: _parsed(metadata.get(key)) for key in ("fields", "normalize", "classes", "eval_transform")}
    model, normalize = metadata.get("model"), told["normalize"]
    if not isinstance(model, str) or not isinstance(normalize, dict):
        return Says()
    where, classes, transforms = "its metadata", told["classes"], told["eval_transform"]
    return Says(
        where=where,
        architecture=model,
        models=(model,),
        fields=told["fields"] if isinstance(told["fields"], dict) else {},
        mean=_numbers(where, "mean", normalize.get("mean")),
        std=_numbers(where, "std", normalize.get("std")),
        pictures=", ".join(map(str, transforms)) if isinstance(transforms, list) else "",
        transforms=tuple(map(str, transforms)) if isinstance(transforms, list) else (),
        classes=tuple(map(str, classes)) if isinstance(classes, list) else (),
    )


def of_checkpoint(content: Any, names: Iterable[str]) -> Says:
    """What a training script saved beside the state dict of these `names`: `args` (timm's and others) and `arch`."""
    if not isinstance(content, dict):
        return Says()
    args, arch = content.get("args"), content.get("arch")
    args, kwargs = (args, args.get("model_kwargs")) if isinstance(args, dict) else ({}, None)
    args = {key: args[key] for key in (_PICTURE | _ARGUMENTS.keys() | {"model", "arch"}) & args.keys()}
    args = {key: x for key, x in args.items() if x is not None and _is_plain(x)}
    name = next((x for x in (args.get("model"), args.get("arch"), arch) if isinstance(x, str) and x), "")
    if not name:
        return Says()
    where = "its settings"
    by_timm = any(key.endswith(("conv_stem.weight", "patch_embed.proj.weight")) for key in names)
    known = architectures.find(name)
    name = name[:100]
    if known is None:  # any script may have written it; timm's arch is the name of a class, as in "efficientnet"
        return Says(note=f"{where} name {name!r}, which is no model here, and were not used")
    if not by_timm and not isinstance(args.get("bn_eps"), float):
        known = known._replace(fields={})  # torchvision's nets of timm's names have another epsilon
    arguments = {key: args[key] for key in _ARGUMENTS.keys() & args.keys()}
    return _timm(where, name, args, {**arguments, **(kwargs if isinstance(kwargs, dict) else {})}, known)


def _timm(where, name, picture, arguments, known=None):
    """Says, of an architecture, timm's settings of pictures and the arguments of its constructor."""
    known = known or architectures.find(name)
    fields, foreign = dict(known.fields) if known else {}, {}
    for key, value in itertools.islice(arguments.items(), 100):
        if not _is_plain(value):
            value = "..."
        if key == "pad_type":
            fields["padding"] = value or "torch"
        elif key in _ARGUMENTS:
            fields[_ARGUMENTS[key]] = value
        elif key not in _HARMLESS:
            foreign[key] = value
    labels = picture.get("label_names")
    return Says(
        where=where,
        architecture=name,
        models=known.models if known else (),
        fields=fields,
        foreign=foreign,
        mean=_numbers(where, "mean", picture.get("mean")),
        std=_numbers(where, "std", picture.get("std")),
        pictures=_pictures(picture),
        transforms=_transforms(picture),
        classes=tuple(map(str, labels)) if isinstance(labels, list) else (),
    )


def _pictures(picture):
    size = picture.get("input_size")
    size = size[-1] if isinstance(size, (list, tuple)) and size else picture.get("img_size")
    parts = [f"{size} pixels"] if isinstance(size, int) else []
    if isinstance(crop := picture.get("crop_pct"), (int, float)):
        parts.append(f"of {crop:g} of the short side")
    if isinstance(kind := picture.get("interpolation"), str) and kind:
        parts.append(kind)
    if (mode := picture.get("crop_mode")) in ("border", "squash"):
        parts.append(mode)
    return ", ".join(parts)


def _transforms(picture):
    """timm's resize to size / crop_pct and the crop of that size, or both sides at once where it squashes."""
    size, crop = picture.get("input_size"), picture.get("crop_pct", 0.875)
    size = size[-1] if isinstance(size, (list, tuple)) and size else None
    if type(size) is not int or not 0 < size < 2**14 or not isinstance(crop, (int, float)) or not 0.1 < crop <= 2:
        return ()
    side = math.floor(size / crop)
    sides = (side, side) if picture.get("crop_mode") == "squash" else (side,)
    return resize_call(sides, picture.get("interpolation")), f"center_crop({size})"


def resize_call(sides: Iterable[int], filter: Any) -> str:
    """A resize of config.data.eval_transform, with a filter as a source names it; bilinear where we have none such."""
    named = [f"resample={filter!r}"] if filter in FILTERS else []
    return f"resize({', '.join([*map(str, sides), *named])})"


def _numbers(where, what, values):
    """() where there is nothing."""
    if values is None or values == []:
        return ()
    listed = values if isinstance(values, (list, tuple)) else (values,)
    if not all(type(x) in (int, float) and math.isfinite(x) for x in listed) or (what == "std" and min(listed) <= 0):
        raise UserError(f"{where} has {what} {values!r:.80}, which is none of a normalisation")
    return tuple(map(float, listed))


def _is_plain(value):
    """Whether a value is a number, a text or a flat row of them: what can be compared and printed in no time. A pickle
    can make nests that hold each part twice, and 60 deep."""
    if isinstance(value, (list, tuple)):
        return (
            len(value) <= 100_000
            and not any(isinstance(x, (list, tuple)) for x in value)
            and all(map(_is_plain, value))
        )
    if isinstance(value, str):
        return len(value) <= 1000
    return value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)


def _parsed(text):
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
