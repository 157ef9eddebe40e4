"""Measures a table of latencies: each block of a space alone, in ONNX Runtime on one core of this machine."""

import importlib.util
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from jaxcls.architect import running
from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.errors import UserError
from jaxcls.export import speed
from jaxcls.export.latency import machine
from jaxcls.models import layers
from jaxcls.models.base import Outputs
from jaxcls.models.mbconv_net import ACTIVATIONS, STEMS
from jaxcls.nas import costs, latency
from jaxcls.nas.space import Space
from jaxcls.settings.reader import resolve
from jaxcls.tasks.networks import Network
from jaxcls.types import Note, PathLike

SECONDS = 0.2  # for each net that is timed


class Piece(nn.Module):
    """A part of a `mbconv_net` by itself, behind which the mean is taken: a block, the first convolution, the last one
    with the classifier, or with none of them nothing."""

    space: Space
    block: tuple[int, int, int, int] | None = None
    begins: bool = False
    ends: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Outputs:
        norm = layers.batch_norm(train=train, dtype=jnp.float32, param_dtype=jnp.float32)
        act, step = ACTIVATIONS[self.space.act], partial(layers.conv_norm, conv=layers.conv, norm=norm)
        if self.begins:
            x = act(step(x, self.space.first, 3, STEMS[self.space.stem], name="first"))
        if self.block:
            kernel, expansion, width, stride = self.block
            expanded = expansion * x.shape[-1]
            x = layers.InvertedResidual(width, expanded, kernel, stride, layers.conv, norm, act=act)(x)
        if self.ends and self.space.last:
            x = act(step(x, self.space.last, 1, name="last"))
        mean = layers.global_mean(x)
        logits = (
            layers.logits_layer(mean, self.space.classes, param_dtype=jnp.float32, name="classifier")
            if self.ends
            else mean
        )
        return logits, {"pre_logits": mean}


def write(config: Mapping[str, Any], path: PathLike, note: Note = print) -> None:
    """Measures the space of a config and writes the table for config.nas.cost.

    A piece counts by its time less that of the same input alone. What a whole net takes differs from the sum: pieces
    next to each other are fused, and share caches.

    Raises:
      UserError: for a config without a space, another ending than .json, or without the extra `onnx`.
    """
    if not str(path).endswith(".json"):
        raise UserError(f"--latency={path} must end in .json.")
    check_packages()
    made = resolve(config)
    made.nas.cost, made.nas.target = "macs", 0.0
    space = running.checked(made, Path(path).with_suffix("")).space
    note(f"{space.size:,} nets, {len(costs.counted(space, 'macs').blocks)} blocks; each kind is timed once")
    tables = latency.measured(space, partial(_block, space, note), partial(_ends, space))
    latency.write(path, space, tables, machine())
    least, most = costs.span(space, tables)
    note(f"{path}: nets of the space take {least:.3f} to {most:.3f} ms; use it: --config.nas.cost={path}")


def check_packages() -> None:
    """Raises UserError where ONNX files can't be written and run here."""
    for package in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"--latency needs {package}, which is not installed: pip install onnx onnxruntime")


def milliseconds(piece: Piece, shape: tuple[int, int, int]) -> float:
    """CPU milliseconds of a piece for one input `[h, w, c]`."""
    images = jnp.zeros((1, *shape), jnp.float32)
    variables = jax.device_get(jax.jit(piece.init)(jax.random.key(0), images))
    logits, _ = jax.eval_shape(piece.apply, variables, images)
    network = Network(
        title="",
        name="piece",
        model=piece,
        variables=variables,
        classes=tuple(map(str, range(logits.shape[-1]))),
        preprocessing=Preprocessing(picture=shape, channels=shape[2]),
    )
    return speed.milliseconds(network, SECONDS)


def _block(space, note, height, width, channels, block):
    shape = (height, width, channels)
    taken = max(0.0, milliseconds(Piece(space, block), shape) - milliseconds(Piece(space), shape))
    note(f"{latency.title((*shape, block))}: {taken:.4f} ms")
    return taken


def _ends(space, width):
    stride = STEMS[space.stem]
    h, w = (-(-side // stride) for side in space.picture[:2])
    for block in space.blocks_of:
        h, w = -(-h // block.stride), -(-w // block.stride)
    first = milliseconds(Piece(space, begins=True), space.picture)
    return first + float(np.maximum(0.0, milliseconds(Piece(space, ends=True), (h, w, width))))
