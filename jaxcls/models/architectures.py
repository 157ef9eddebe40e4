"""Which of our models another library's architecture is, and what its weights want that no tensor shows.

timm's definitions, release 1.0.31 (`efficientnet.py`, `mobilenetv3.py`): nets whose names begin with `tf_` pad as
TensorFlow does and have 1e-3 in BatchNorm, the others PyTorch's padding and 1e-5. torchvision's names are ours.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxcls.models.published import PUBLISHED


class Architecture(NamedTuple):
    """Our models that have its tensors, and the fields that its weights want."""

    models: tuple[str, ...]
    fields: Mapping[str, Any]


_TORCH = {"padding": "torch", "epsilon": 1e-5}
_SAME = {"padding": "same", "epsilon": 1e-3}
_WIDTHS = {"050": 0.5, "075": 0.75, "140": 1.4}
_LETTERS = {"tiny": "t", "small": "s", "base": "b", "large": "l"}
_REGNETS = {"016": "1_6gf", "032": "3_2gf", "160": "16gf", "320": "32gf", "1280": "128gf",
            "004_tv": "400mf", "008_tv": "800mf", "080_tv": "8gf", "x_008": "800mf", "x_080": "8gf",
            "y_004": "400mf"}  # fmt: skip
# Nets whose usual weights want pictures on [-1, 1]: torchvision's with `transform_input`, and Google's.
SYMMETRIC = (
    r"googlenet|inception_v3|resnetv2_\d+(x\d_bit)?|vit_base_patch16_siglip_224|"
    r"vit_(tiny|small|base|large)_patch\d+_\d+|mixer_\w+|tf_efficientnetv2_[sm]|tf_mobilenetv3_(large|small)_100"
)


def find(name: str) -> Architecture | None:
    """What timm or torchvision calls `name`, or `timm/name.tag`; None for what is not here."""
    name = name.rpartition("/")[2].partition(".")[0]
    for pattern, made in _RULES:
        if found := re.fullmatch(pattern, name):
            models, fields = made(*found.groups())
            return Architecture((*models, *[name] * (name in PUBLISHED and name not in models)), fields)
    return Architecture((name,), {}) if _library(name) in ("torchvision", "timm") else None


def own(name: str, fields: Mapping[str, Any]) -> Architecture:
    """Of a model of ours, as our own exports name it."""
    return Architecture((name,), fields)


def symmetric(name: str) -> bool:
    """Whether the usual weights of a model of ours want mean and deviation of 0.5."""
    return bool(re.fullmatch(SYMMETRIC, name))


def _library(name):
    return PUBLISHED[name].library if name in PUBLISHED else ""


def _mobile(family, fields, width=""):
    return Architecture((family,), {**fields, **({"width_mult": _WIDTHS[width]} if width in _WIDTHS else {})})


def _regnet(kind, size):
    ours = _REGNETS.get(size) or _REGNETS.get(f"{kind}_{size}")
    return Architecture((f"regnet_{kind}_{ours}",) if ours else (), {})


def _vit(size, patch, side):
    del side  # of the pictures: tables are resized
    ours = f"vit_{size}_patch{patch}_224"
    models = (ours, f"vit_{_LETTERS[size]}_{patch}")
    return Architecture(tuple(model for model in models if _library(model)), {})


def _swin(size, window):
    return Architecture((f"swin_{_LETTERS[size]}",), {"window_size": int(window)})


_RULES = (
    (r"mobilenetv2_(050|075|100|140)", lambda width: _mobile("mobilenet_v2", _TORCH, width)),
    (r"mobilenetv3_(large|small)_100", lambda size: _mobile(f"mobilenet_v3_{size}", _TORCH)),
    (r"tf_mobilenetv3_(large|small)_100", lambda size: _mobile(f"mobilenet_v3_{size}", _SAME)),
    (r"efficientnet_(b[0-7])", lambda size: _mobile(f"efficientnet_{size}", _TORCH)),
    (r"efficientnetv2_([sml])", lambda size: _mobile(f"efficientnet_v2_{size}", _TORCH)),
    (r"tf_efficientnet_(b[0-7])(?:_ap|_ns)?", lambda size: _mobile(f"efficientnet_{size}", _SAME)),
    (r"tf_efficientnetv2_([sml])(?:_in21k|_in21ft1k)?", lambda size: _mobile(f"efficientnet_v2_{size}", _SAME)),
    (r"mnasnet_(050|075|100|140)", lambda width: _mobile("mnasnet1_0", _TORCH, width)),
    (r"regnet([xy])_(\d+(?:_tv)?)", _regnet),
    (r"vit_(tiny|small|base|large)_patch(\d+)_(\d+)", _vit),
    (r"(deit_\w+_patch16)_\d+", lambda stem: Architecture((f"{stem}_224",), {})),
    (r"swin_(tiny|small|base)_patch4_window(\d+)_\d+", _swin),
)
