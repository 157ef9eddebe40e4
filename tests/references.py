"""Reference outputs of PyTorch models. Parameters are generated from their names, so that little is stored."""

import json
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np

HERE = Path(__file__).parent / "models" / "fixtures"  # one small model a family
SHARED = Path(__file__).resolve().parents[2] / "shared" / "reference"  # all; may be absent


def index(root):
    """Name -> description of every model stored in a folder; {} where there is none."""
    return {
        name: entry
        for path in sorted(root.glob("models*.json"))
        for name, entry in json.loads(path.read_text()).items()
    }


def load(name):
    """A reference: its state dict, an input, the logits and, where stored, one training step. KeyError if absent."""
    root = HERE if name in index(HERE) else SHARED
    meta = index(root)[name]
    with np.load(root / "models" / f"{name}.npz") as archive:
        stored = dict(archive)
    train = None
    if "train_loss" in stored:
        train = SimpleNamespace(
            image=inputs(4, meta["train_size"]),
            label=stored["train_label"],
            loss=float(stored["train_loss"]),
            logits=stored["train_logits"],
            after={key[6:]: value for key, value in stored.items() if key.startswith("after:")},
            grad_norm=dict(zip(meta["trainable"], stored["train_grad_norm"].tolist(), strict=True)),
        )
    image = inputs(2, meta["size"])
    return SimpleNamespace(state=_state(name, meta, stored), image=image, logits=stored["logits"], train=train)


def _tensor(model, name, shape, mean, std):
    """The generated parameter `name`: float32 normal, keyed by both names."""
    rng = np.random.Generator(np.random.PCG64([zlib.crc32(model.encode()), zlib.crc32(name.encode())]))
    return rng.standard_normal(tuple(shape), dtype=np.float32) * np.float32(std) + np.float32(mean)


def inputs(batch, size):
    """Pictures of a size (side, or height and width), or clips (frames, height, width) of one that moves to the left.

    float32 `[batch, height, width, 3]` or `[batch, frames, height, width, 3]`.
    """
    *frames, height, width = np.broadcast_to(size, max(2, np.size(size))).tolist()
    if not frames:
        return _picture(batch, height, width)
    wide = _picture(batch, height, width + 3 * frames[0])
    return np.stack([wide[:, :, 3 * i : 3 * i + width] for i in range(frames[0])], axis=1)


def _picture(batch, height, width):
    """A smooth picture with some texture, zero mean and unit variance roughly: float32 `[batch, height, width, 3]`."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    out = np.empty((batch, height, width, 3))
    for b in range(batch):
        for c in range(3):
            k = 1 + b * 3 + c
            waves = np.sin(x * 0.05 * k + b) + np.cos(y * 0.035 * k - c) + 0.6 * np.sin(x * y * 0.0007 * (k + 1))
            texture = 0.5 * np.sin(x * 1.9 + y * 1.3 * (b + 1))
            out[b, ..., c] = waves + texture + 0.3 * (b - 0.5) + 0.2 * (c - 1)
    return (out * 0.7).astype(np.float32)


def _state(name, meta, stored):
    state = {}
    for key, shape, mean, std in meta["state"]:
        if mean is None:  # running statistics are stored
            state[key] = stored["state:" + key].astype(np.float32).reshape(shape)
        elif std is None:  # counters
            state[key] = np.full(shape, mean, np.int64)
        else:
            state[key] = _tensor(name, key, shape, mean, std)
    return state
