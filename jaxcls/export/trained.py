"""The INT8 file of a network that was trained for it: its own ranges, no calibration.

The writer puts a pair (QuantizeLinear, DequantizeLinear) wherever the network rounds activations; the kernels stand
there as floats on a grid of `levels` steps to either side of 0 for each output channel, times what was folded into
them. Here they become integers and scales, and the biases behind them 32-bit integers in steps of input times kernel,
as integer operators take them: the one thing that is not rounded in training.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.errors import UserError
from jaxcls.export import candidates, latency, quantise
from jaxcls.export.asked import Options, Subject
from jaxcls.export.candidates import Candidate
from jaxcls.quantize.quantised import Quantised
from jaxcls.types import Note

if TYPE_CHECKING:
    from onnx import ModelProto

OUTPUTS = {"Conv": 0, "Gemm": 1, "MatMul": 1}  # the axis of the kernel that output channels are along
LYING = ("Reshape", "Squeeze", "Transpose", "Unsqueeze")  # may stand between a rounded tensor and its layer
OFF_GRID = 0.01  # of a step: further from one than rounding in float32 takes a weight


def is_trained(subject: Subject) -> bool:
    """Whether it was trained for INT8 (config.model.quantize)."""
    return isinstance(subject.network.model, Quantised)


def refuse(subject: Subject, options: Options) -> None:
    """Raises UserError for what does not go with a network that was trained for INT8."""
    if not is_trained(subject):
        return
    target = subject.network.model.target
    if options.float16:
        raise UserError(f"--float16: {subject.title} was trained for INT8, and its file has no other precision.")
    if options.target not in ("any", target):
        raise UserError(f"--target={options.target}: {subject.title} was trained for {target}; leave it out.")


def candidate(subject: Subject, path: Path, model: "ModelProto", note: Note) -> Candidate:
    """The INT8 file, of the network's float model."""
    target = subject.network.model.target
    note(f"INT8 as trained, for target {target}: no calibration")
    made = int8(model, subject.network.model.levels, signed=target == "arm")
    about = {"way": "trained", "target": target, "reduce_range": target == "any"}
    return Candidate(path, "int8", candidates.of_model(made), about, latency.lacks(target))


def int8(model: "ModelProto", levels: int, *, signed: bool = False) -> "ModelProto":
    """The model with integers for the kernels of layers whose input is rounded; its metadata say "int8".

    Args:
      model: what `float_file.float_model` makes of a quantised network. It is changed.
      levels: of its kernels.
      signed: activations as int8 in place of uint8, the same grid moved by 128: for ARM.
    """
    from onnx import numpy_helper

    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    scale_of: dict[str, np.ndarray] = {}  # of rounded tensors
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            scale_of[node.output[0]] = constants[node.input[1]]
        elif node.op_type in LYING and node.input[0] in scale_of:
            scale_of[node.output[0]] = scale_of[node.input[0]]
    new = _New(graph)
    for node in list(graph.node):
        if node.op_type not in OUTPUTS or node.input[0] not in scale_of or node.input[1] not in constants:
            continue
        axis = OUTPUTS[node.op_type]
        if (found := on_grid(constants[node.input[1]], axis, levels)) is None:
            continue  # nothing that was rounded in training
        q, scale = found
        node.input[1] = new.dequantised(node.input[1], q, scale, axis)
        if len(node.input) > 2:
            steps = scale_of[node.input[0]] * scale
            bias = np.rint(constants[node.input[2]].astype(np.float64) / steps)
            node.input[2] = new.dequantised(node.input[2], bias.clip(-(2**31), 2**31 - 1).astype(np.int32), steps, 0)
    new.finish(signed)
    return quantise.labelled(model, model, "int8")


def on_grid(kernel: np.ndarray, axis: int, levels: int) -> tuple[np.ndarray, np.ndarray] | None:
    """(int8, float32 [channels]) whose product along the axis is the kernel; None where it is on no such grid."""
    others = tuple(i for i in range(kernel.ndim) if i != axis)
    largest = np.abs(kernel.astype(np.float64)).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest / levels, 1)
    q = np.rint(kernel / scale)
    if np.abs(kernel / scale - q).max() > OFF_GRID:
        return None
    return q.astype(np.int8), scale.ravel().astype(np.float32)


class _New:
    """What is put into a graph."""

    def __init__(self, graph: Any):
        self.graph = graph
        self.nodes: list[Any] = []
        self.tensors: dict[str, np.ndarray] = {}
        self.made: dict[Any, str] = {}

    def dequantised(self, name: str, q: np.ndarray, scale: np.ndarray, axis: int) -> str:
        """The name of q times scale along an axis, behind a constant of this name that two layers may share."""
        from onnx import helper

        key = name, scale.tobytes()
        if key not in self.made:
            out = f"{name}_int8_{len(self.made)}"
            inputs = [f"{out}_q", f"{out}_scale", f"{out}_zero"]
            self.tensors |= zip(inputs, (q, scale, np.zeros(len(scale), q.dtype)), strict=True)
            self.nodes.append(helper.make_node("DequantizeLinear", inputs, [out], name=out, axis=axis))
            self.made[key] = out
        return self.made[key]

    def finish(self, signed: bool) -> None:
        """Puts all into the graph; what nobody reads any more goes."""
        from onnx import numpy_helper

        nodes = [*self.nodes, *self.graph.node]
        used = {name for node in nodes for name in node.input}
        points = {node.input[2] for node in self.graph.node if node.op_type == "QuantizeLinear"}
        kept = {t.name: numpy_helper.to_array(t) for t in self.graph.initializer if t.name in used}
        if signed:
            kept |= {name: (kept[name].astype(np.int16) - 128).astype(np.int8) for name in points}
        del self.graph.node[:], self.graph.initializer[:]
        self.graph.node.extend(nodes)
        self.graph.initializer.extend(numpy_helper.from_array(x, name) for name, x in {**kept, **self.tensors}.items())
