"""Operations that are written late, so that constants behind them go into their weights: BatchNorm into convolutions.

Sums and products with a single number or one value a channel are folded, in float64, as long as nobody else has seen
the tensor: rules/folding.py asks, and the writer takes `Value.pending` away from what is read twice.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from jaxcls.export.graph import Graph, Node


@dataclasses.dataclass
class Pending:
    """What comes out of an operation, times `scale` plus `shift`, per place of one axis of the tensor or for all."""

    name: str
    label: str
    axis: int | None  # of the tensor, along which constants may differ; None: only single numbers fold
    scale: np.ndarray = dataclasses.field(default_factory=lambda: np.ones(1))
    shift: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(1))

    def fold(self, op: str, constant: np.ndarray, first: bool) -> None:
        """The tensor and a constant (flat) under add, sub, mul or div; `first`: the constant is the first operand."""
        c = constant.astype(np.float64)
        if op == "add":
            self.shift = self.shift + c
        elif op == "sub":
            self.shift = c - self.shift if first else self.shift - c
            self.scale = -self.scale if first else self.scale
        else:
            factor = c if op == "mul" else 1 / c
            self.scale, self.shift = self.scale * factor, self.shift * factor

    def nodes(self, graph: Graph) -> list[Node]:
        """The operation with what was folded."""
        raise NotImplementedError


@dataclasses.dataclass
class Linear(Pending):
    """A convolution or a product with weights whose outputs are along `out` of the kernel."""

    op: str = ""
    inputs: list[str] = dataclasses.field(default_factory=list)
    kernel: Any = None
    out: int = 0
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)

    def nodes(self, graph: Graph) -> list[Node]:
        """One node; a product of more than two axes has its bias apart, as ONNX's MatMul has none."""
        shape = [1] * self.kernel.ndim
        shape[self.out] = -1
        kernel = (self.kernel.astype(np.float64) * self.scale.reshape(shape)).astype(np.float32)
        features = kernel.shape[self.out]
        bias = np.broadcast_to(self.shift, (features,)).astype(np.float32)
        inputs = [*self.inputs, graph.constant(kernel)]
        if not bias.any():
            return [Node("MatMul" if self.op == "Gemm" else self.op, inputs, [self.name], self.attributes, self.label)]
        if self.op != "MatMul":
            inputs.append(graph.constant(bias))
            return [Node(self.op, inputs, [self.name], self.attributes, self.label)]
        product = graph.name("matmul")
        return [
            Node("MatMul", inputs, [product], {}, self.label),
            Node("Add", [product, graph.constant(bias)], [self.name], {}, f"{self.label}/bias"),
        ]


@dataclasses.dataclass
class Affine(Pending):
    """Constants behind what they could not be folded into."""

    input: str = ""
    rank: int = 0

    def nodes(self, graph: Graph) -> list[Node]:
        """BatchNormalization where channels are second of four axes and nothing else is simpler, else Mul and Add."""
        size = max(self.scale.size, self.shift.size)
        if self.rank == 4 and self.axis == 1 and size > 1 and self.shift.any() and (self.scale != 1).any():
            given = [np.broadcast_to(x, size) for x in (self.scale, self.shift, np.zeros(1), np.ones(1))]
            names = [graph.constant(x.astype(np.float32)) for x in given]
            return [Node("BatchNormalization", [self.input, *names], [self.name], {"epsilon": 0.0}, self.label)]
        steps = [("Mul", self.scale, 1), ("Add", self.shift, 0)]
        if (self.scale == -1).all() and self.shift.any():
            return [Node("Sub", [self._constant(graph, self.shift), self.input], [self.name], {}, self.label)]
        steps = [step for step in steps if (step[1] != step[2]).any()] or steps[:1]
        nodes, last = [], self.input
        for i, (op, array, _) in enumerate(steps, 1):
            name = self.name if i == len(steps) else graph.name(op)
            nodes.append(Node(op, [last, self._constant(graph, array)], [name], {}, self.label))
            last = name
        return nodes

    def _constant(self, graph, array):
        array = array.astype(np.float32)
        if array.size == 1:
            return graph.constant(array.reshape(()))
        return graph.constant(array.reshape([-1, *[1] * (self.rank - 1 - self.axis)]))


@dataclasses.dataclass
class Summed(Pending):
    """A sum over axes or windows, of `count` elements each: a mean where it is divided by their number."""

    op: str = "ReduceMean"
    inputs: list[str] = dataclasses.field(default_factory=list)
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)
    count: int = 1
    rank: int = 0
    places: list[int] = dataclasses.field(default_factory=list)

    def nodes(self, graph: Graph) -> list[Node]:
        """The mean, or a sum of axes, times what is left."""
        scale = float(self.scale[0])
        summed = self.op == "ReduceMean" and not math.isclose(scale * self.count, 1, rel_tol=1e-6)
        rest = scale if summed else scale * self.count
        rest = 1.0 if math.isclose(rest, 1, rel_tol=1e-6) else rest
        plain = rest == 1 and not self.shift.any()
        op, inputs, attributes = "ReduceSum" if summed else self.op, self.inputs, self.attributes
        if op == "ReduceMean" and self.rank == 4 and self.places == [2, 3]:
            op, inputs, attributes = "GlobalAveragePool", inputs[:1], {}
        name = self.name if plain else graph.name(op)
        nodes = [Node(op, inputs, [name], attributes, self.label)]
        if not plain:
            behind = Affine(self.name, self.label, None, np.array([rest]), self.shift, input=name)
            nodes += behind.nodes(graph)
        return nodes
