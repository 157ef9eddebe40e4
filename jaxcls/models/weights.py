"""Published weights by name: `resnet50.a1_in1k` (timm's net and tag), `resnet50.IMAGENET1K_V2` (torchvision's member).

`weights.tsv` has a row for each, made of the tables of both libraries by a script of the repository: where they lie,
under what licence, what was measured with them, and which pictures they want. It is read when somebody asks.
"""

import csv
import dataclasses
import fnmatch
import functools
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxcls.errors import UserError, did_you_mean, listed
from jaxcls.models import architectures, basis, origin
from jaxcls.models.origin import Says

TABLE = Path(__file__).with_name("weights.tsv")
USUAL = ("true", "yes", "1")  # as config.model.pretrained: the usual weights of config.model.name
NORMALIZE = {**{name: moments for moments, name in basis.NAMED.items()}, "unit": ((0.0,) * 3, (1.0,) * 3)}
_SUFFIXES = ("safetensors", "pth", "pt", "th", "bin", "onnx", "tflite")
_MEMBER = re.compile(r"[A-Z0-9]+(_[A-Z0-9]+)*_V\d+")  # how torchvision calls weights
# Licences, or what begins so, that allow research alone, or no commercial use.
_RESTRICTED = ("cc-by-nc", "fair-noncommercial", "apple-amlr", "seer-license")
_OWN_TERMS = ("dinov3-license", "apple-ascl", "cvnets-license", "gemma")


@dataclasses.dataclass(frozen=True)
class Row:
    """One file of weights.

    Attributes:
      name: NET.TAG, as timm has it, or MODEL.MEMBER, as torchvision has it.
      model: ours that has its tensors; `fields`: what it must be told besides.
      location: ORG/NAME on the Hugging Face hub, or an address.
      sha256: of the file, its first digits; "" where the hub tells it.
      licence: as the source has it; "unknown" where it says nothing.
      top1: on ImageNet-1k in percent, as published, and `at` which size of pictures; None, 0 where it was not measured.
      size: of the pictures it was trained for; `resize`: the side before the crop of that size, two where both sides
        are set; `filter` of resizing.
      normalize: a name of NORMALIZE, or "mean,..;std,..".
      classes: 0 where it has no last layer.
      mb: millions of bytes to be fetched, about.
    """

    name: str
    model: str
    fields: Mapping[str, Any]
    location: str
    sha256: str
    licence: str
    top1: float | None
    at: int
    size: int
    resize: tuple[int, ...]
    filter: str
    normalize: str
    classes: int
    mb: int

    @property
    def is_url(self) -> bool:
        """Whether it lies at an address, not on the hub."""
        return "://" in self.location

    @property
    def moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(mean, std) of pictures, on the scale of [0, 1]."""
        return moments(self.normalize)

    @property
    def transforms(self) -> tuple[str, ...]:
        """What evaluation does to a picture, as config.data.eval_transform."""
        return origin.resize_call(self.resize, self.filter), f"center_crop({self.size})"

    @property
    def restricted(self) -> bool:
        """Whether the licence forbids commercial use."""
        return self.licence.startswith(_RESTRICTED)

    @property
    def says(self) -> Says:
        """What the table says of the weights, in the place of a config.json."""
        mean, std = self.moments
        models = (self.model,) if self.is_url else getattr(architectures.find(self.name), "models", (self.model,))
        return Says(
            where="the table of weights",
            architecture=self.name.partition(".")[0],
            models=models,
            fields=self.fields,
            mean=mean,
            std=std,
            pictures=", ".join(self.transforms),
            transforms=self.transforms,
        )


def rows() -> dict[str, Row]:
    """Name -> Row, of each net the usual ones first."""
    return _rows(TABLE)


@functools.lru_cache(maxsize=2)
def _rows(table):
    with open(table, newline="", encoding="utf-8") as file:
        return {line["name"]: _row(line) for line in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}


def _row(line):
    top1, _, at = line.pop("top1").partition("@")
    return Row(
        **{key: line[key] for key in ("name", "model", "location", "sha256", "licence", "filter", "normalize")},
        **{key: int(line[key]) for key in ("size", "classes", "mb")},
        fields=json.loads(line["fields"] or "{}"),
        resize=tuple(map(int, line["resize"].split("x"))),
        top1=float(top1) if top1 else None,
        at=int(at or 0),
    )


def moments(normalize: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) of `Row.normalize`."""
    if normalize in NORMALIZE:
        return NORMALIZE[normalize]
    mean, std = (tuple(map(float, part.split(","))) for part in normalize.split(";"))
    return mean, std


def of_model(model: str) -> list[Row]:
    """All weights of a model of ours, the usual ones first."""
    return [row for row in rows().values() if row.model == model]


def listing(pattern: str = "*") -> list[Row]:
    """Those whose name, or model, matches a shell-style pattern."""
    return [row for row in rows().values() if any(fnmatch.fnmatchcase(x, pattern) for x in (row.name, row.model))]


def usual(model: str) -> Row:
    """The weights of a model where no tag is given: the first of its library's that have a last layer and whose licence
    is no bar, else the first. Raises UserError where nobody publishes any."""
    found = of_model(model)
    if not found:
        raise UserError(
            f"neither timm nor torchvision publishes weights of {model}; jaxcls models --pretrained lists what there is"
        )
    return next((row for row in found if row.classes and not row.restricted), found[0])


def find(text: str, model: str = "") -> Row | None:
    """The weights that a text names; None where it names none, but a file, a folder, or a place on the hub.

    Args:
      text: a name; a tag or a member of torchvision's alone; the name of a model, or "True": its usual weights.
      model: of ours, that they are for; "" where that is not known.

    Raises:
      UserError: for a tag that a known net does not have, or one that needs a model.
    """
    if text.lower() in USUAL:
        if not model:
            raise UserError("config.model.pretrained=True means the weights of config.model.name, which is not set")
        return usual(model)
    if "/" in text or text.startswith("hf-hub:") or not text or os.path.exists(os.path.expanduser(text)):
        return None
    if found := rows().get(text) or rows().get(f"{model}.{text}"):
        return found
    if of_model(text):
        return usual(text)
    stem, dot, tag = text.rpartition(".")
    if not dot:
        return _of_tag(text, model)
    if tag in _SUFFIXES or not of_net(stem.partition(".")[0]):
        return None
    raise UserError(unknown(text, of_net(stem.partition(".")[0])))


def _of_tag(text, model):
    """The weights of a model by a tag alone; None for what no model here has as a tag."""
    found = [row for row in of_model(model) if row.name.partition(".")[2] == text]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{text} may be {listed(row.name for row in found)}; give the whole name")
    others = [row.name for row in rows().values() if row.name.partition(".")[2] == text]
    if not others and not _MEMBER.fullmatch(text):
        return None
    if not model:
        raise UserError(f"{text} alone does not say of which net; write it like {(others or ['resnet50.' + text])[0]}")
    raise UserError(unknown(f"{model}.{text}", of_model(model)))


def of_net(net: str) -> list[Row]:
    """The weights of a net as timm or torchvision calls it."""
    return [row for row in rows().values() if row.name.partition(".")[0] == net]


def unknown(text: str, there: list[Row]) -> str:
    """The line for weights that are in no table; `there`: those of the same net."""
    names = [row.name for row in there]
    if not names:
        return f"there are no weights {text!r}; jaxcls models --pretrained lists what timm and torchvision publish"
    return f"there are no weights {text!r}{did_you_mean(text, names, 0.8) or f'; there are {listed(names, 6)}'}"


def near(text: str) -> str:
    """The end of a message about a name that is none; "" where none is near."""
    return did_you_mean(text, [*rows()], 0.8) if "." in text else ""


def located(repository: str) -> Row | None:
    """The row of a repository of the hub; None where the table has none."""
    found = [row for row in rows().values() if row.location == repository]
    return next((row for row in found if repository.endswith(f"/{row.name}")), found[0] if found else None)


def licence_note(licence: str) -> str:
    """What is to be told of a licence when weights are taken; "" for one that allows any use."""
    if licence.startswith(_RESTRICTED):
        return f"their licence, {licence}, forbids commercial use"
    if licence in _OWN_TERMS:
        return f"their licence, {licence}, has terms of its own: read them before they are used"
    return "their source names no licence" if licence == "unknown" else ""
