"""The nodes of an ONNX graph that multiply by weights, and what each costs: INT8 is about them."""

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from onnx import ModelProto

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class Layer(NamedTuple):
    """A node with its multiply-adds for one picture; `weights` is how many numbers it has, 0 for products of two
    activations (attention)."""

    name: str
    op: str
    multiply_adds: int
    weights: int


def named(model: "ModelProto") -> "ModelProto":
    """A copy in which every node has a name of its own, so that it can be told from others, and shapes are inferred."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    taken: set[str] = set()
    for i, node in enumerate(copy.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{i}"
        taken.add(node.name)
    return onnx.shape_inference.infer_shapes(copy, data_prop=True)


def layers(model: "ModelProto") -> list[Layer]:
    """The weighted nodes in the order of the graph, with their cost. Names must be there (`named`)."""
    single = _of_one_picture(model)
    shapes = _shapes(single)
    weights = {tensor.name: math.prod(tensor.dims) for tensor in single.graph.initializer}
    found = []
    for node in single.graph.node:
        if node.op_type in WEIGHTED:
            cost = _multiply_adds(node, shapes)
            found.append(Layer(node.name, node.op_type, cost, max(weights.get(name, 0) for name in node.input[:2])))
    return found


def share_of_convolutions(model: "ModelProto") -> float:
    """The share of a net's multiply-adds that lie in convolutions, 0 to 1."""
    found = layers(model)
    total = sum(layer.multiply_adds for layer in found)
    return sum(layer.multiply_adds for layer in found if layer.op.startswith("Conv")) / max(1, total)


def _of_one_picture(model):
    """The model with a batch of one, its shapes inferred."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    for value in copy.graph.input:
        value.type.tensor_type.shape.dim[0].Clear()
        value.type.tensor_type.shape.dim[0].dim_value = 1
    for value in copy.graph.output:
        value.type.tensor_type.shape.dim[0].Clear()
    return onnx.shape_inference.infer_shapes(copy, data_prop=True)


def _shapes(model):
    """Name -> tuple of sizes, 1 where one is not known."""
    graph = model.graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = tuple(dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim)
    return shapes


def _multiply_adds(node, shapes):
    first, second, out = (shapes.get(name, ()) for name in (*node.input[:2], node.output[0]))
    if node.op_type == "Conv":
        return math.prod(out) * math.prod(second[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(first) * math.prod(second[1:])
    turned = node.op_type == "Gemm" and any(a.name == "transA" and a.i for a in node.attribute)
    inner = first[0 if turned else -1] if first else 1
    return math.prod(out) * inner
