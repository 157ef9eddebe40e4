"""Small pairs of towers: tensors made from their names, in the names of several libraries, and what those answer."""

import json
import zlib
from pathlib import Path

import numpy as np

from jaxcls.models.vit import ViT

STORED = json.loads((Path(__file__).parent / "words" / "towers.json").read_text())
SIZES = {"patch": 8, "width": 64, "depth": 2, "heads": 2}


def tensors(name):
    return {key: tensor(name, key, *rest) for key, *rest in STORED[name]["state"]}


def tensor(model, name, shape, mean, std):
    rng = np.random.Generator(np.random.PCG64([zlib.crc32(model.encode()), zlib.crc32(name.encode())]))
    made = rng.standard_normal(tuple(shape), dtype=np.float32) * np.float32(std) + np.float32(mean)
    return np.asarray(made).reshape(shape)


def picture():
    rng = np.random.Generator(np.random.PCG64(7))
    return rng.standard_normal((4, 3, 32, 32), dtype=np.float32).transpose(0, 2, 3, 1)


def tokens():
    rng = np.random.Generator(np.random.PCG64(8))
    rows = np.zeros((4, 12), np.int64)
    for row in rows:
        end = rng.integers(1, 11)
        row[0], row[1:end], row[end] = 98, rng.integers(1, 98, end - 1), 99
    return rows


def image_tower(name):
    if name.startswith("siglip"):
        return ViT(class_token=False, pool="map", num_classes=0, **SIZES)
    activation = "gelu" if name == "clip_gelu" else "quick_gelu"
    return ViT(pre_norm=True, epsilon=1e-5, num_classes=32, activation=activation, **SIZES)
