"""Outputs beside the answer (`--features`): what the last layer sees, and the last map where it makes heat maps.

A class activation map (heatmaps.cam) is one where the logits are a linear layer of the mean of the last map. Whether
they are is tried in the graph itself, on made pictures: no model has to say so, and none can say it wrongly.
"""

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxcls.errors import UserError
from jaxcls.runtime import extras
from jaxcls.tasks import base
from jaxcls.tasks.fold_networks import FoldsNetwork
from jaxcls.tasks.networks import Network
from jaxcls.types import Note

if TYPE_CHECKING:
    from onnx import ModelProto

PRE_LOGITS, MAP = "pre_logits", "last_map"
PLAIN = "plain_logits"  # of one view, while the graph is tried
LARGEST = 2**26  # bytes of training features that a file holds at most: in ResNet-50's 2,048 dimensions of 16,000
MORE = "the head of {} is more than the mean of its last map and a linear layer"
NEAR = 1e-4  # of the largest logit: by so much rounding may differ


class Layer(NamedTuple):
    """The last layer: logits are x @ kernel + bias."""

    kernel: Float[np.ndarray, "c classes"]
    bias: Float[np.ndarray, " classes"]


@dataclasses.dataclass(frozen=True)
class Beside:
    """What is written beside the answer.

    Attributes:
      stage: of the model's features, that is the last map; "" for none.
      layer: behind the map's mean, to be tried; None without a map.
      why: why there is no map.
    """

    stage: str = ""
    layer: Layer | None = None
    why: str = ""


def of(network: Network) -> Beside:
    """What a network can have beside its answer, as far as shapes tell.

    Raises:
      UserError: where its answer is features, or it gives none.
    """
    if isinstance(network, FoldsNetwork):
        raise UserError(f"--features: {network.title}: these are of one network; export the folder of a fold.")
    if network.output == base.FEATURES:
        raise UserError(f"--features: {network.title} answers with features already; leave it out.")
    raw = jax.ShapeDtypeStruct((1, *_prepared(network)), np.uint8)
    seen = jax.eval_shape(network.preprocessing.device, raw)
    _, out = jax.eval_shape(lambda v, x: network.model.apply(v, x, train=False), network.variables, seen)
    if PRE_LOGITS not in out:
        raise UserError(f"--features: {network.title} does not say what its last layer sees; leave it out.")
    stages = [key for key in out if key.startswith("stage") and key[5:].isdigit()]
    stage = max(stages, key=lambda key: int(key[5:]), default="")
    shape = out[stage].shape if stage else ()
    layer = _layer(network, shape[-1] if shape else 0)
    if len(shape) != 4:
        return Beside(why=f"the last features of {network.name} are no map")
    if math.prod(shape[1:3]) == 1:
        return Beside(why=f"the last map of {network.name} is a single place for pictures of this size")
    cuts = any(call.name != "resize" for call in network.preprocessing.calls()[1])  # a resize shows what was there
    if cuts and seen.shape[1:3] != raw.shape[1:3]:
        return Beside(why="transforms on the device cut its pictures, and a map would lie beside what the model sees")
    if layer is None:
        return Beside(why=MORE.format(network.name))
    return Beside(stage, layer)


def _prepared(network):
    """The shape of a prepared picture."""
    return network.preprocessing.prepare(network.preprocessing.blank(), network.title).shape


def _layer(network, channels):
    """The linear layer of the model's head that takes so many channels; None where there is none."""
    parameters, classes = network.variables.get("params", {}), len(network.classes)
    for found in (parameters.get(name, {}) for name in getattr(network.model, "head", ())):
        kernel = np.asarray(found.get("kernel", 0), np.float32)
        if kernel.shape == (channels, classes):
            return Layer(kernel, np.asarray(found.get("bias", np.zeros(classes)), np.float32))
    return None


def function(network: Network, variables: Any, images: Any, beside: Beside, plain: bool) -> tuple[Any, ...]:
    """(answer to prepared pictures, the last map where there is one, pre_logits, with `plain` the logits of one view),
    for tracing. Views (tta) are an answer of their own: what stands beside it is of the picture as it is."""
    seen = network.preprocessing.device(images)
    logits, out = network.model.apply(variables, seen, train=False)
    answer = network.answer(variables, seen) if network.views else logits
    maps = [out[beside.stage].astype(np.float32)] if beside.stage else []
    return (answer, *maps, out[PRE_LOGITS].astype(np.float32), *([logits] if plain else []))


def names(beside: Beside, plain: bool) -> list[str]:
    """Of what `function` gives behind the answer."""
    return [*([MAP] if beside.stage else []), PRE_LOGITS, *([PLAIN] if plain else [])]


def is_linear(model: "ModelProto", layer: Layer, shape: tuple[int, ...], logits: str) -> bool:
    """Whether the logits of a model (its output of that name) are the layer of the mean of its last map."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    handle = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    images[1] = images[1] // 4 + 64  # of another contrast
    found, maps = handle.run([logits, MAP], {"image": images})
    made = maps.mean(axis=(2, 3)) @ layer.kernel + layer.bias
    return bool(np.abs(made - found).max() <= NEAR * np.abs(found).max())


def drop(model: "ModelProto", name: str) -> None:
    """Takes an output away that others are computed from, in place."""
    for value in [value for value in model.graph.output if value.name == name]:
        model.graph.output.remove(value)


def metadata(network: Network, beside: Beside, note: Note = print) -> dict[str, str]:
    """What a file with these outputs says of them (runtime.extras), and notes of what it has not."""
    told = {"pre_logits": PRE_LOGITS, "map": MAP if beside.stage else "", "layout": "nchw", "why_no_map": beside.why}
    found = {"features": json.dumps(told)}
    if beside.layer is not None:
        found["head"] = extras.packed(beside.layer.kernel, "<f4")
    else:
        note(f"no heat maps: {beside.why}")
    if network.bank is not None:
        size = network.bank.features.nbytes
        if size <= LARGEST:
            found["bank"] = extras.packed(network.bank.features, "<f2")
        else:
            note(
                f"outliers by energy alone: training features of {size / 1e6:,.0f} MB are too large for the file; "
                "calibrate with a smaller --most"
            )
    return found
