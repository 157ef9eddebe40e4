"""Names of models and the constructors behind them."""

import dataclasses
import fnmatch
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp

from jaxcls import call_strings
from jaxcls.columns import of_json
from jaxcls.errors import UserError, did_you_mean, listed
from jaxcls.models import field_checks
from jaxcls.models.base import Classifier
from jaxcls.models.columns import Columns
from jaxcls.models.cosine import Cosine
from jaxcls.models.fpn import FPN
from jaxcls.models.frames import Frames

Constructor = Callable[..., Classifier]

_MODELS: dict[str, Constructor] = {}


def register(constructor: Constructor, name: str | None = None) -> Constructor:
    """Makes a variant known: `@register` above a function, or `register(partial(Net, depth=18), "net18")`.

    The constructor takes the model's fields by keyword, all of them optional, and returns the module. Returns the
    constructor unchanged. Raises ValueError for a name that is taken.
    """
    name = name or constructor.__name__
    if name in _MODELS:
        raise ValueError(f"two models are called {name!r}")
    _MODELS[name] = constructor
    return constructor


def list_models(pattern: str = "*") -> list[str]:
    """The registered names that match a shell-style pattern, sorted."""
    return sorted(fnmatch.filter(_MODELS, pattern))


def create(
    name: str, *, num_classes: int = 1000, neck: str = "", columns: Sequence[Mapping[str, Any]] = (), **fields: Any
) -> Classifier:
    """The model called `name`, not yet initialised. `dtype` and `param_dtype` may be names, as in "bfloat16".

    `neck="fpn"` puts a feature pyramid between the model and its classifier (`jaxcls.models.fpn`), of 256 features a
    level, or `"fpn(64)"` of 64; `neck="cosine"` classifies by the direction of the features (`jaxcls.models.cosine`),
    `"cosine(512)"` by that of 512 which the model's own last layer makes; `neck="columns(32)"` takes `columns` of a
    table beside the picture (`jaxcls.models.columns`; as `jaxcls.columns.to_json` has them); `neck="frames"` makes a
    model of clips of one of pictures, by the mean over frames (`jaxcls.models.frames`). The fields are then those of
    the model, whose dropout the new classifier takes over.
    Raises UserError for an unknown model or neck, a field that it does not have, or a value that cannot be one.
    """
    if name not in _MODELS:
        raise UserError(f"there is no model {name!r}{did_you_mean(name, list_models()) or _listed(list_models())}")
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < 0:
        raise UserError(f"num_classes must be a whole number (0: no classifier), not {num_classes!r}")
    usual = _MODELS[name]()
    known = {f.name for f in dataclasses.fields(usual)} - {"parent", "name"}
    for field in fields:
        if field not in known:
            hint = did_you_mean(field, known) or _listed(sorted(known))
            raise UserError(f"model {name!r} has no field {field!r}{hint}")
    fields = {field: _tuples(value) for field, value in fields.items()}
    for field in {"dtype", "param_dtype"} & fields.keys():
        fields[field] = _float_dtype(field, fields[field])
    for field in fields.keys() - {"dtype", "param_dtype"}:
        field_checks.check(name, field, fields[field], getattr(usual, field))
    if columns and not neck.startswith("columns"):
        raise UserError(f"neck {neck!r} takes no columns beside the picture; use neck 'columns', or leave it out")
    if not neck:
        return _MODELS[name](num_classes=num_classes, **fields)
    kind, args, options = call_strings.parse(neck, [*_NECKS], what="neck", kind="neck", like="'fpn' or 'fpn(64)'")
    with call_strings.fitting(kind, "neck"):
        own, made = _NECKS[kind](*args, **options)
    backbone = _MODELS[name](num_classes=num_classes if own is None else own, **fields)
    if backbone.inputs:
        raise UserError(f"a neck is for nets of pictures alone, and {name!r} takes {backbone.inputs[0]}; leave it out")
    if kind == "columns":
        if not columns:
            raise UserError("neck 'columns' is for columns beside the picture; name them: config.data.columns")
        made = partial(made, columns=of_json(columns))
    return made(
        backbone=backbone,
        num_classes=num_classes,
        dropout=backbone.dropout,
        dtype=backbone.dtype,
        param_dtype=backbone.param_dtype,
    )


def _fpn(features: int = 256):
    return 0, partial(FPN, features=_whole("features of a level", features, 1))


def _cosine(features: int = 0):
    return _whole("features", features, 0), partial(Cosine, projects=features > 0)


def _columns(features: int = 32):
    return 0, partial(Columns, features=_whole("features of a hidden layer", features, 1))


def _frames():
    return None, Frames


# -> (classes of the backbone, None for those of the model; constructor)
_NECKS = {"fpn": _fpn, "cosine": _cosine, "columns": _columns, "frames": _frames}


def _whole(what, value, least):
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{what} must be a whole number of at least {least}, not {value!r}")
    return value


def _tuples(value):
    """Lists, which a stored config has, as tuples: a module must be hashable."""
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) and not hasattr(value, "_fields") else value


def parse_field(text: str) -> tuple[str, object]:
    """Name and value of a field from "NAME=VALUE" on a command line; a value that is no Python literal is text.

    Raises UserError for a text without a name or "=".
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UserError(f"--field takes NAME=VALUE, as in stem=cifar, not {text!r}")
    field_checks.refuse_reserved([name], "--field ")
    return name, call_strings.literal(value)


def _listed(known: list[str]) -> str:
    return f"; there are: {listed(known)}"


def _float_dtype(field: str, value) -> jnp.dtype:
    try:
        dtype = jnp.dtype(value)
    except (TypeError, ValueError, SyntaxError, AttributeError):
        dtype = None
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise UserError(f"{field} must be a floating type such as float32 or bfloat16, not {value!r}")
    return dtype
