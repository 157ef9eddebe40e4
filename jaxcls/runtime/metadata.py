"""What a file of ours says about itself: string -> string, as ONNX has it; values are JSON unless they are plain words.

jaxcls           version of this format
classes          names, in the order of the outputs
preprocessing    augment.preprocessing.Preprocessing, with "host": its transforms that the host does (the others are
                 in the graph, as normalisation is), and "decoder": what decodes, and how it scales
picture          [height, width, channels] of the input, uint8
answer           what the model answers: "softmax" or "sigmoid" (of logits), or "features"
output           what the graph's output is called and holds: "logits", "probabilities" (calibrated) or "features"
decision         what is stored of calibration, thresholds, costs, abstention (measure.decision; of "sigmoid"
                 measure.multilabel.decision), or null
views            test-time augmentation that the graph averages over
precision        "float32", "float16" or "int8"
model, fields, step, averaged, data, source, versions    where it comes from

Of some files, of `jaxcls export --features`, and of those that were checked:

features         {"pre_logits", "map": names of outputs, "layout": "nchw", that of the map, "why_no_map"}; map is ""
                 where heat maps can't be made of it, for the reason in why_no_map
head             the linear layer behind the map's mean: float32 [channels, classes], little-endian, in base64
bank             the training features that outliers are measured to (measure.outliers), float16 [n, d], as `head`
check            what export.json says of the file's check (export.check.compared, with `on`: which pictures)
"""

import dataclasses
import importlib.metadata
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.errors import UserError
from jaxcls.measure import decision as decisions
from jaxcls.measure import outliers
from jaxcls.runtime import extras

VERSION = "1"
MARK = "jaxcls"  # the key that a file of ours has
OUTPUTS = ("logits", "probabilities", "features")
ANSWERS = ("softmax", "sigmoid", "features")
PRECISIONS = ("float32", "float16", "int8")
DECODER = {
    "jpeg": "libjpeg-turbo (accurate DCT, smooth chroma), at 1/8, 1/4 or 1/2 of its size where twice the height and "
    "width that the first resize makes are left",
    "others": "Pillow; EXIF orientation applied, transparency on white",
    "resize": "Pillow's, antialiased",
}
_PACKAGES = ("jaxcls", "jax", "flax", "numpy", "onnx", "onnxruntime")


@dataclasses.dataclass(frozen=True)
class Described:
    """What the metadata of a file of ours say; see the module. `preprocessing` has the host's transforms alone."""

    classes: tuple[str, ...]
    preprocessing: Preprocessing
    picture: tuple[int, int, int]
    answer: str
    output: str
    decision: decisions.Decision | None
    views: tuple[str, ...]
    precision: str
    model: str
    fields: Mapping[str, Any]
    step: int
    averaged: bool
    data: str
    source: Mapping[str, Any]
    versions: Mapping[str, str]
    features: Mapping[str, str] | None = None
    head: np.ndarray | None = None
    bank: outliers.Bank | None = None
    check: Mapping[str, Any] | None = None


def of(network: Any, *, output: str, precision: str) -> dict[str, str]:
    """The metadata of a file that is written of a network.

    Args:
      network: a tasks.networks.Network, or what has its attributes.
      output: what the graph's output holds: "logits", "probabilities" or "features".
      precision: of the graph: "float32", "float16" or "int8".

    Raises:
      UserError: where the network takes what no picture is.
    """
    preprocessing = network.preprocessing
    picture = preprocessing.prepare(preprocessing.blank(), network.title).shape
    host = () if preprocessing.picture else preprocessing.transforms[: len(preprocessing.calls()[0])]
    values: dict[str, Any] = {
        "classes": list(network.classes),
        "preprocessing": {**preprocessing.to_json(), "host": list(host), "decoder": DECODER},
        "picture": list(picture),
        "decision": network.calibration,
        "views": list(network.views),
        "fields": _fields(network.model),
        "step": int(network.step),
        "averaged": bool(network.averaged),
        "source": dict(network.source),
        "versions": _versions(),
    }
    words = {"answer": network.output, "output": output, "precision": precision, "model": network.name}
    coded = {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}
    return {MARK: VERSION, **words, "data": network.data, **coded}


def read(mapping: Mapping[str, str], what: str) -> Described:
    """What the metadata of a file of ours say.

    Args:
      mapping: the metadata.
      what: how messages call the file.

    Raises:
      UserError: where something lacks or is no such thing, or the file is of a newer version.
    """
    if MARK not in mapping:
        raise UserError(f"{what} was not written by jaxcls: its metadata don't say what it is")
    if mapping[MARK] != VERSION:
        raise UserError(f"{what} is of a newer jaxcls (format {mapping[MARK]!r}, not {VERSION!r}); update jaxcls")
    key = ""
    values: dict[str, Any] = {}
    try:
        for key, convert in _READERS.items():
            values[key] = convert(mapping[key])
        for key in filter(mapping.__contains__, extras.READERS):
            values[key] = extras.READERS[key](mapping[key], values)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError, UserError) as error:
        how = "lack" if isinstance(error, KeyError) and error.args == (key,) else "have a damaged"
        raise UserError(f"{what}: its metadata {how} {key!r}; export it again") from error
    found = Described(**values)
    sizes = [len(found.classes)] + ([len(found.decision["classes"])] if found.decision else [])
    least = 1 if found.answer == "sigmoid" else 2
    if found.answer != "features" and (len(found.classes) < least or len(set(sizes)) > 1):
        raise UserError(f"{what}: its metadata have {' and '.join(map(str, sizes))} classes; export it again")
    return found


def _texts(text):
    """A JSON list of strings, as a tuple."""
    values = json.loads(text)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError
    return tuple(values)


def _picture(text):
    values = json.loads(text)
    if not all(type(n) is int and n > 0 for n in values) or len(values) not in (3, 4):  # with frames: of clips
        raise ValueError
    return tuple(values)


def _preprocessing(text):
    """That of the host: what its other transforms do is in the graph."""
    stored = json.loads(text)
    host = stored.pop("host")
    stored.pop("decoder", None)
    found = dataclasses.replace(Preprocessing.from_json(stored), transforms=tuple(host))
    if not all(isinstance(spec, str) for spec in host) or not all(map(math.isfinite, (*found.mean, *found.std))):
        raise ValueError
    _ = found.picture or found.host  # it is made
    return found


def _decision(text):
    stored = json.loads(text)
    if stored is not None and not decisions.is_sound(stored):
        raise ValueError
    return stored


def _one_of(words):
    def convert(text):
        if text not in words:
            raise ValueError
        return text

    return convert


def _mapping(text):
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError
    return value


def _number(text):
    value = json.loads(text)
    if type(value) is not int:
        raise ValueError
    return value


def _flag(text):
    return {"true": True, "false": False}[text]


_READERS: dict[str, Callable[[str], Any]] = {
    "classes": _texts,
    "preprocessing": _preprocessing,
    "picture": _picture,
    "answer": _one_of(ANSWERS),
    "output": _one_of(OUTPUTS),
    "decision": _decision,
    "views": _texts,
    "precision": _one_of(PRECISIONS),
    "model": str,
    "fields": _mapping,
    "step": _number,
    "averaged": _flag,
    "data": str,
    "source": _mapping,
    "versions": _mapping,
}


def _fields(model):
    """The fields of a Linen module that are not as its class has them, and that JSON takes."""
    if not dataclasses.is_dataclass(model):
        return {}
    found = {field.name: (getattr(model, field.name), field.default) for field in dataclasses.fields(model)}
    return {
        name: value
        for name, (value, default) in found.items()
        if name not in ("name", "parent") and value != default and _plain(value)
    }


def _plain(value):
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    return value is None or isinstance(value, (str, int, float))


def _versions():
    """name -> version of what wrote the file, as far as it is installed."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
