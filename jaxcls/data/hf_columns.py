"""Which columns of a Hugging Face set are picture and label, and the names of its classes: what its features say."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxcls.errors import UserError, did_you_mean, listed
from jaxcls.files import read_bytes
from jaxcls.text import printable

IMAGES = ("image", "img")
LABELS = ("label", "labels", "fine_label", "class", "target")
Features = Mapping[str, Any]  # column -> {"_type": "ClassLabel", "names": [...]}, {"_type": "Image"}, ...


class Columns(NamedTuple):
    """What is read of a set.

    Attributes:
      image: column of the pictures.
      label: column of the labels; None where there is none.
      names: class names that numbers count in; None where the set does not tell them.
    """

    image: str
    label: str | None
    names: tuple[str, ...] | None


def choose(schema: Any, features: Features, options: Mapping[str, str], place: str) -> Columns:
    """The Columns of a set.

    Args:
      schema: pyarrow's.
      features: of the set; {} where they are not known.
      options: `image`, `label`: names of columns.
      place: for messages.

    Raises:
      UserError: where there is no such column, or several could be meant.
    """
    fields = {field.name: field.type for field in schema}
    for key in ("image", "label"):
        if key in options and options[key] not in fields:
            hint = did_you_mean(options[key], list(fields))
            raise UserError(f"{place} has no column {printable(options[key])!r}; it has {listed(fields)}{hint}")
    pictures = [name for name in fields if _type(features.get(name)) == "Image"]
    pictures = pictures or [name for name, kind in fields.items() if _holds_bytes(kind)]
    image = options.get("image") or _one(pictures, IMAGES, "pictures", "image", place)
    if image is None:
        raise UserError(f"{place}: no column holds pictures; it has {listed(fields)}; name it: ?image=COLUMN")
    if not _holds_bytes(fields[image]):
        raise UserError(
            f"{place}: the column {image!r} holds {fields[image]}, no encoded pictures; name another: ?image=COLUMN"
        )
    labels = [name for name in fields if _class_names(features.get(name)) is not None]
    labels = labels or [name for name in LABELS if name in fields][:1]
    label = options.get("label") or _one(labels, LABELS, "labels", "label", place)
    return Columns(image, label, _class_names(features.get(label)) if label else None)


def _one(names, usual, what, key, place):
    """The one of some columns that is meant: the only one, or the first of the usual names; None without any."""
    if len(names) > 1 and not (set(names) & set(usual[:2])):
        raise UserError(f"{place}: several columns hold {what}, {listed(names)}; name one: ?{key}={names[0]}")
    return next((name for name in usual if name in names), names[0] if names else None)


def _holds_bytes(kind):
    """Whether a pyarrow type is that of encoded pictures: binary, or a struct with `bytes`."""
    text = str(kind)
    return text in ("binary", "large_binary") or ("struct<" in text[:7] and "bytes: " in text and "binary" in text)


def _type(feature):
    return feature.get("_type") if isinstance(feature, Mapping) else None


def _class_names(feature):
    """Names of a ClassLabel, or of a list of it; None of others."""
    if isinstance(feature, list) and len(feature) == 1:
        return _class_names(feature[0])
    if _type(feature) in ("Sequence", "List", "LargeList"):
        return _class_names(feature.get("feature"))
    if _type(feature) != "ClassLabel":
        return None
    names = feature.get("names")
    return tuple(map(str, names)) if names else None


def of_schema(schema: Any) -> Features:
    """The features that an Arrow schema's metadata tell; {} without."""
    try:
        return dict(json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"])
    except (KeyError, ValueError, TypeError):
        return {}


def of_info(path: Path) -> Features:
    """The features of a dataset_info.json; {} without."""
    try:
        return dict(json.loads(read_bytes(path))["features"])
    except (OSError, KeyError, ValueError, TypeError):
        return {}


def of_card(path: Path) -> Features:
    """The features that the head of a README.md tells, as those of dataset_info.json; {} without.

    Of several configurations only the first is looked at.
    """
    import yaml

    try:
        text = read_bytes(path).decode("utf-8-sig")
        head = yaml.safe_load(text.split("---\n", 2)[1]) if text.startswith("---\n") else {}
        info = head["dataset_info"]
        return {x["name"]: _of_yaml(x) for x in (info[0] if isinstance(info, list) else info)["features"]}
    except (OSError, UnicodeError, yaml.YAMLError, KeyError, ValueError, TypeError, IndexError, RecursionError):
        return {}


def _of_yaml(feature):
    """`{dtype: image}`, `{dtype: {class_label: {names: {'0': ant}}}}`, `{sequence: ...}` as the JSON has them."""
    for key in ("sequence", "list"):
        if key in feature:
            inner = feature[key]
            return {"_type": "Sequence", "feature": _of_yaml(inner if isinstance(inner, Mapping) else {"dtype": inner})}
    kind = feature.get("dtype", feature)
    if kind == "image":
        return {"_type": "Image"}
    label = kind.get("class_label") if isinstance(kind, Mapping) else None
    if label is None:
        return {"_type": "Value"}
    names = label["names"]
    ordered = [names[key] for key in sorted(names, key=int)] if isinstance(names, Mapping) else names
    return {"_type": "ClassLabel", "names": [str(name) for name in ordered]}
