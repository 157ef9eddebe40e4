"""What weights rest on that no tensor shows: said by their source and obeyed, or assumed and told.

`check` refuses where a source says otherwise than the config does: a change that nobody asked for would be silent.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxcls.errors import UserError
from jaxcls.models import architectures
from jaxcls.models.origin import Says

NAMED = {((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)): "imagenet", ((0.5,) * 3, (0.5,) * 3): "symmetric"}
CLOSE = 2e-3  # between normalisations: sources round them


class Use(NamedTuple):
    """What weights are put to.

    Attributes:
      name: of the model, as registered; "" where that is unknown.
      mean, std: of the normalisation of pictures; () where it is unknown.
      transforms: what evaluation does to a picture before.
      classes: names, in the order of the logits.
      field, model, data: how a field of the model is set, the model itself, and normalize, mean or std of pictures.
    """

    name: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    transforms: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    field: str = "--config.model.fields.{}={}"
    model: str = "--config.model.name={}"
    data: str = "--config.data.{}={}"


UNKNOWN = Use()


def check(model: Any, says: Says, use: Use) -> None:
    """What a source says of its weights is what they are put to.

    Raises:
      UserError: one line with all that differs, and the settings for it.
    """
    if says.where and use.name and use.name not in says.models:
        raise UserError(_other_architecture(says, use))
    inner, settable = _inner(model)
    changes, impossible = [], [f"{key}={value!r}" for key, value in says.foreign.items()]
    for field, value in says.fields.items():
        if _plain(getattr(inner, field, None)) == _plain(value):
            continue
        if field in settable:
            changes.append((f"{field} {value}", use.field.format(field, value)))
        else:
            impossible.append(f"{field}={value!r}")
    if impossible:
        raise UserError(f"{says.where} says {', '.join(impossible)}, which {use.name or 'this model'} can't do")
    if _differ(says.mean, use.mean) or _differ(says.std, use.std):
        said = [f"{what} {_text(x)}" for what, x in (("mean", says.mean), ("std", says.std)) if x]
        changes.append((" and ".join(said), _normalize(says, use)))
    if changes:
        words, settings = zip(*changes, strict=True)
        raise UserError(f"{says.where} says {' and '.join(words)}, which is not what is set; add {' '.join(settings)}")


def rows(model: Any, norm: str, says: Says, use: Use) -> list[dict[str, str]]:
    """What the weights rest on: {"what", "value", "by": what said it, "" for assumed, "setting": that changes it}.

    `norm`: "BatchNorm" or "LayerNorm", that the model has; "" for neither.
    """
    inner, fields = _inner(model)
    found = []
    if says.architecture:
        found.append(_row("architecture", says.architecture, says.where, "config.model.name"))
    traits = [("padding", "padding")] if norm == "BatchNorm" or "padding" in fields else []
    traits += [("epsilon", f"epsilon of {norm}")] if norm else []
    for field, what in traits:
        by = says.where if field in says.fields else ""
        setting = f"config.model.fields.{field}" if field in fields else "fixed"
        found.append(_row(what, getattr(inner, field, "?"), by, setting))
    if use.mean:
        setting = "config.data.normalize"
        for what, theirs, ours in (("mean", says.mean, use.mean), ("std", says.std, use.std)):
            found.append(_row(what, _text(ours), says.where if theirs else "", setting))
        shown = ", ".join(use.transforms) or "as they are"
        told = f"{shown} (its own: {says.pictures})" if says.pictures and says.pictures != shown else shown
        found.append(_row("pictures", told, "", "config.data.eval_transform"))
    return found


def warnings(model: Any, by_timm: bool, says: Says, use: Use) -> list[str]:
    """Lines about what is assumed although weights of such names often want something else."""
    (inner, fields), found = _inner(model), []
    if by_timm and "padding" in fields and not says.fields:
        padding, epsilon = use.field.format("padding", "same"), use.field.format("epsilon", "1e-3")
        other = use.field.format("epsilon", "1e-5")
        plain = "" if inner.epsilon == 1e-5 else f"; its others want {other}"
        found.append(f"the names are timm's, whose tf_ models want {padding} {epsilon}{plain}: the file does not say")
    if use.mean and architectures.symmetric(use.name) and not says.mean and _differ((0.5,), use.mean):
        setting = use.data.format("normalize", "symmetric")
        found.append(f"the usual weights of {use.name} want mean 0.5 and std 0.5: {setting}")
    return found


def _inner(model):
    """(the model, or the backbone of a feature pyramid; the names of its fields)."""
    inner = getattr(model, "backbone", model)
    return inner, {field.name for field in dataclasses.fields(inner)}


def _row(what, value, by, setting):
    return {"what": what, "value": str(value), "by": by, "setting": setting}


def _other_architecture(says, use):
    if not says.models:
        return f"{says.where} says that it is a {says.architecture}, which is none of the models here, not {use.name}"
    fields = says.fields.items() if says.where != "its metadata" else ()
    settings = " ".join(use.field.format(field, value) for field, value in fields)
    model = " or ".join(use.model.format(name) for name in says.models)
    return f"{says.where} says that it is a {says.architecture}, not {use.name}; use {model} {settings}".rstrip()


def _differ(theirs, ours):
    """Whether two normalisations do. Grey pictures have no three values of a colour's to be compared with."""
    if not theirs or not ours or (1 not in (len(theirs), len(ours)) and len(theirs) != len(ours)):
        return False
    return not np.allclose(theirs, ours, rtol=0, atol=CLOSE)


def _normalize(says, use):
    for (mean, std), name in NAMED.items():
        if not _differ(says.mean, mean) and not _differ(says.std, std):
            return use.data.format("normalize", name)
    mean, std = np.broadcast_arrays(says.mean or use.mean, says.std or use.std)  # both are to be set, alike in length
    return " ".join(use.data.format(what, f"'({_text(tuple(x))},)'") for what, x in (("mean", mean), ("std", std)))


def _text(values):
    return ", ".join(f"{value:g}" for value in (values[:1] if len({*values}) == 1 else values))


def _plain(value):
    return [*map(_plain, value)] if isinstance(value, (list, tuple)) else value


def as_text(found: list[Mapping[str, str]]) -> list[str]:
    """The lines of a report about `rows`."""
    said: dict[str, list[str]] = {}
    for row in found:
        setting = "" if row["by"] else f" ({row['setting']})"
        said.setdefault(row["by"], []).append(f"{row['what']} {row['value']}{setting}")
    return [f"  {f'as {by} says' if by else 'assumed, for nothing says it'}: {'; '.join(x)}" for by, x in said.items()]
