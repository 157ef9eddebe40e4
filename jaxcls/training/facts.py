"""What is to be known of a set of pictures, of the weights beside it and of the machine before a recipe is chosen."""

import os
import statistics
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcls.data import decode, query
from jaxcls.data.balance import counted
from jaxcls.data.base import Source, clips, leaves, multilabel
from jaxcls.errors import UserError
from jaxcls.settings.reader import Reader, resolve
from jaxcls.training import from_weights
from jaxcls.training.choose import Facts
from jaxcls.training.members import open_sources

SAMPLE = 48  # pictures that are decoded, spread evenly over training
SMALL = 64  # pixels that are enough to tell grey from colour
FILES = (".safetensors", ".pth", ".pt")


def facts(config: ConfigDict, given: Collection[str]) -> Facts:
    """The facts for a config of defaults and of what the user has set: the keys in `given`, data.name among them.

    Raises:
      UserError: for data that can't be opened or has no labels, and weights that are not there.
    """
    full = resolve(config)
    if "model.name" not in given:
        full.model.name = ""
    train = open_sources(Reader(full))["train"]
    if not train.classes:
        raise UserError(
            f"{full.data.name} has no labels, and so no recipe is chosen; --config=simclr_folder learns without them."
        )
    if clips(train):
        raise UserError(f"{full.data.name} has clips, for which no recipe is chosen; --config=clips is one for them.")
    weights = full.model.pretrained if "model.pretrained" in given else beside(full.data.name)
    counts = counted(np.asarray(train.labels), len(train.classes))
    present = counts[counts > 0]
    side, channels = _pictures(train)
    return Facts(
        data=full.data.name,
        pictures=len(train),
        classes=len(train.classes),
        sets=multilabel(train),
        rarest=int(present.min()) if len(present) else 0,
        commonest=int(counts.max()),
        side=side,
        channels=full.data.channels or channels,
        in_memory=leaves(train)["image"].shape is not None,
        devices=full.parallel.devices or jax.device_count(),
        accelerator=jax.default_backend() != "cpu",
        model=_model(full, weights) if weights else full.model.name,
        weights=weights,
    )


def beside(data: str) -> str:
    """The one file of weights in the folder where a set lies, with a name that tells the net; "" for none or several.

    `data`: config.data.name.
    """
    place = query.path(data)
    if not place:
        return ""
    folder = Path(os.path.abspath(place)).parent
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(FILES))
    except OSError:
        return ""
    found = [str(Path(place).parent / name) for name in names if from_weights.model_named(name)]
    return found[0] if len(found) == 1 else ""


def _model(full, weights):
    """The name of the net that the weights are of, or that is set."""
    trial = ConfigDict(full.to_dict())
    trial.model.pretrained = weights
    return from_weights.resolved(trial).model.name


def _pictures(source: Source) -> tuple[int, int]:
    """(median of the short sides in pixels, channels) of some training pictures. Bad ones are told by later checks."""
    shape = leaves(source)["image"].shape
    if shape is not None:
        return min(shape[-3:-1]), shape[-1]
    rows = np.linspace(0, len(source) - 1, min(SAMPLE, len(source))).astype(int).tolist()
    with ThreadPoolExecutor(8) as pool:
        seen = [x for x in pool.map(lambda row: _seen(source, row), rows) if x]
    if not seen:
        raise UserError("none of the training pictures looked at can be read; jaxcls check --config=folder names them.")
    return int(statistics.median(side for side, _ in seen)), 1 if all(grey for _, grey in seen) else 3


def _seen(source: Any, row: int) -> tuple[int, bool] | None:
    """(short side, whether it is grey) of a picture; None where it can't be read."""
    try:
        image = source[row]["image"]
        if not isinstance(image, np.ndarray):
            encoded = bytes(image)
            shape = decode.upright_size(encoded)
            image = decode.decode(encoded, scale_for=SMALL)
        else:
            shape = image.shape[:2]
        return min(shape), bool((image == image[..., :1]).all())
    except Exception:  # whatever is wrong with a picture
        return None
