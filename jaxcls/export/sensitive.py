"""Layers that INT8 hurts: each alone in INT8, its error measured, and the worst kept in float until a drop is met.

All of it is measured on training pictures that calibration did not see. Not on validation pictures: those judge the
file afterwards (export.check), and a choice that was made on them would flatter it. A net is surer of pictures that it
was trained on, so the drop there is rather too small: the judgement may still reject.

Alone in INT8 costs one file and a few pictures for each layer: 208 CPU seconds for ResNet-50 (54 layers) at 224 px.
What interacts (errors that add up) is seen by the files of the search only, of which there are about six.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from jaxcls import set_metrics
from jaxcls.types import Note

if TYPE_CHECKING:
    from onnx import ModelProto

PICTURES = 16  # that a layer's error is measured on
SHOWN = 10  # layers in the record

Ask = Callable[[np.ndarray], np.ndarray]
Measure = Callable[[Ask], float]  # a file -> its drop in points
Build = Callable[..., "ModelProto"]  # keep_float=(), only=() -> an INT8 model


@dataclasses.dataclass(frozen=True)
class Found:
    """What a search ended with.

    Attributes:
      model: the INT8 one.
      kept: names of the layers in float, the worst first.
      drop: its own, in points, on the pictures of the search.
      ranking: (name, error) of all layers, the worst first: root mean square difference of the answers with that layer
        alone in INT8, over the root mean square of the answers in float; empty where all layers could be INT8.
    """

    model: "ModelProto"
    kept: tuple[str, ...]
    drop: float
    ranking: tuple[tuple[str, float], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What export.json says of it."""
        worst = [{"layer": name, "error": error} for name, error in self.ranking[:SHOWN]]
        return {"kept_in_float": list(self.kept), "drop_on_training": self.drop, "most_sensitive": worst}


def ask(model: "ModelProto") -> Ask:
    """A model in memory as a function of pictures."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    handle = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = model.graph.input[0].name
    return lambda images: handle.run(None, {name: images})[0]


def ranked(
    build: Build, names: Sequence[str], images: UInt8[np.ndarray, "n h w c"], float_answers: Float[np.ndarray, "n d"]
) -> tuple[tuple[str, float], ...]:
    """(layer, its error alone in INT8) of each layer, the worst first; see `Found.ranking`."""
    found = [(name, _error(float_answers, ask(build(only=[name]))(images))) for name in names]
    return tuple(sorted(found, key=lambda pair: -pair[1]))


def _error(right: Float[np.ndarray, "n d"], other: Float[np.ndarray, "n d"]) -> float:
    error = np.sqrt(np.mean((other.astype(np.float64) - right) ** 2))
    scale = np.sqrt(np.mean(right.astype(np.float64) ** 2))
    return float(error / scale) if np.isfinite(error) and scale > 0 else float("inf")


def search(
    build: Build,
    model: "ModelProto",
    names: Sequence[str],
    images: UInt8[np.ndarray, "n h w c"],
    drop: Measure,
    *,
    wanted: float,
    note: Note = print,
) -> Found:
    """The INT8 model with as few layers in float as a drop of at most `wanted` points needs: all in INT8 where that
    is met, else 1, 2, 4, ... of the worst in float, and then the fewest between the last two that meet it.

    Args:
      build: keep_float, only (names of layers) -> an INT8 model.
      model: in float.
      names: of the layers that INT8 takes (export.weighted).
      images: for the ranking; PICTURES are enough.
      drop: points of accuracy that a model costs, on held-out training pictures.
      wanted: at most, in points.
      note: where lines go.
    """
    whole = build()
    cost = drop(ask(whole))
    if cost <= wanted:
        return Found(whole, (), cost)
    note(f"all layers in INT8 cost {cost:.2f} points on training pictures; which of them do is measured, each alone")
    ranking = ranked(build, names, images, ask(model)(images))
    names = [name for name, _ in ranking]
    tried: dict[int, tuple[Any, float]] = {}

    def try_it(count):
        if count not in tried:
            candidate = build(keep_float=names[:count])
            tried[count] = candidate, drop(ask(candidate))
            note(f"{count} of {len(names)} layers in float: {tried[count][1]:.2f} points")
        return tried[count][1] <= wanted

    low, high = 0, 1
    while high < len(names) and not try_it(high):
        low, high = high, min(2 * high, len(names))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if try_it(middle) else (middle, high)
    try_it(high)
    chosen, cost = tried[high]
    return Found(chosen, tuple(names[:high]), cost, ranking)


def drop_of(reference: Sequence[Any], labels: Any, batches: Callable[[], Any]) -> Measure:
    """A Measure on pictures: points of accuracy of the float answers less those of a file.

    Args:
      reference: classes that the float model answers.
      labels: of the pictures.
      batches: gives the pictures, uint8 [n, h, w, c] at a time.
    """
    right = float((np.asarray(reference) == np.asarray(labels)).mean())

    def measure(ask: Ask) -> float:
        answered = np.concatenate([ask(images).argmax(axis=1) for images in batches()])
        return 100 * (right - float((answered == np.asarray(labels)).mean()))

    return measure


def drop_of_sets(reference: Float[np.ndarray, "n d"], labels: Any, batches: Callable[[], Any]) -> Measure:
    """As `drop_of`, where labels are sets: points of mAP. `reference`: answers of the float model."""
    right = set_metrics.of_sets(reference, labels)["mAP"]

    def measure(ask: Ask) -> float:
        answered = np.concatenate([ask(images) for images in batches()])
        return 100 * (right - set_metrics.of_sets(answered, labels)["mAP"])

    return measure
