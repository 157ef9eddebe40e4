"""Names in files of self-supervised training: an encoder among its copies, heads and queues."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

# Where the encoder is, in order of preference: MoCo; MoCo v3; ports of BYOL; solo-learn, Barlow Twins, VICReg, lightly;
# SimSiam, SupContrast. Of two copies the trained one is taken, not its moving average.
_PAIRED = ("encoder_q.", "base_encoder.", "online_network.", "online_encoder.", "momentum_encoder.")
ENCODERS = (*_PAIRED, "backbone.", "encoder.")  # the last two may be of supervised training
_HEADS = re.compile(
    r"(encoder_k|momentum_\w+|target_\w+|(\w+_)?(projector|predictor|projection|prediction)(_\w+)?|prototypes|"
    r"queue\w*)(\.|$)"
)
_BESIDE = re.compile(r"(head|neck|fc|bn|classifier|online_classifier)\.")  # where an encoder has a name of its own
COPY = "of self-supervised training, beside the encoder"
HEAD = "the head of self-supervised training"


class Split(NamedTuple):
    """An encoder found in a file.

    Attributes:
      names: key of the file -> name within the encoder. What nothing explains is among them, under its own name.
      beside: key -> why it is left out.
      ssl: whether the file is of self-supervised training, so that its last layer is no classifier.
    """

    names: dict[str, str]
    beside: dict[str, str]
    ssl: bool


def split(names: Mapping[str, str], ours: Iterable[str], known: Callable[[str], bool]) -> Split:
    """The encoder of a file with the given names (key -> name without wrappers); `ours` are the model's names, and
    `known` says which others the model's own rules lead to them (torchvision's ViT has an `encoder.`, too)."""
    ours = tuple(ours)
    found, ssl = dict(names), False
    beside: dict[str, str] = {}
    while prefix := _prefix(found.values(), ours, known):
        others = {key: name for key, name in found.items() if not name.startswith(prefix)}
        left = {key for key, name in others.items() if _HEADS.match(name) or _BESIDE.match(name)}
        ssl |= bool(left) or prefix in _PAIRED
        beside |= dict.fromkeys(left, COPY)
        found = {key: name.removeprefix(prefix) for key, name in found.items() if key not in left}
    left = {key for key, name in found.items() if _HEADS.match(name) and not _starts(ours, name.partition(".")[0])}
    beside |= dict.fromkeys(left, COPY)
    return Split({key: name for key, name in found.items() if key not in left}, beside, ssl or bool(left))


def is_head(name: str, head: Iterable[str], ours: Iterable[str]) -> bool:
    """Whether a name is of an MLP in place of the last layer (`fc.0.weight`), whose own names are `head`."""
    layers = {*head, "fc", "head"}
    return name not in ours and any(re.match(rf"{re.escape(layer)}\.\d+\.", name) for layer in layers)


def _prefix(names, ours, known):
    """The first of ENCODERS that names begin with, but none of the model's and none that it knows; "" for none."""
    for prefix in ENCODERS:
        inside = [name for name in names if name.startswith(prefix)]
        if inside and not _starts(ours, prefix) and not any(map(known, inside)):
            return prefix
    return ""


def _starts(names, prefix):
    return any(name.startswith(prefix) for name in names)
