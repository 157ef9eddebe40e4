"""The nodes of an ONNX graph that multiply by weights, and what each costs: INT8 is about them."""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

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


def followers(model: "ModelProto") -> dict[str, list[str]]:
    """Layer -> names of the nodes that work on what it gives, up to the next layers: activations, sums with shortcuts,
    pools. A node that takes from several belongs to the last of them."""
    found: dict[str, list[str]] = {}
    last: dict[str, int] = {}  # value -> number of the last layer that has a part in it
    names: list[str] = []
    for node in model.graph.node:
        if node.op_type in WEIGHTED:
            names.append(node.name)
            found[node.name] = []
            latest = len(names) - 1
        else:
            latest = max((last.get(name, -1) for name in node.input), default=-1)
            if latest >= 0:
                found[names[latest]].append(node.name)
        last.update(dict.fromkeys(node.output, latest))
    return found


def share_of_convolutions(model: "ModelProto") -> float:
    """The share of a net's multiply-adds that lie in convolutions, 0 to 1."""
    found = layers(model)
    total = sum(layer.multiply_adds for layer in found)
    return sum(layer.multiply_adds for layer in found if layer.op.startswith("Conv")) / max(1, total)


def sort(graph: Any) -> None:
    """Puts every node behind those whose results it takes, as ONNX wants it and converters don't leave it. In place."""
    made = {name: i for i, node in enumerate(graph.node) for name in node.output}
    order: dict[int, None] = {}
    for i in range(len(graph.node)):
        todo = [i]
        while todo:
            before = [made[name] for name in graph.node[todo[-1]].input if name in made and made[name] not in order]
            if before:
                todo += before
            else:
                order[todo.pop()] = None
    nodes = [graph.node[i] for i in order]
    del graph.node[:]
    graph.node.extend(nodes)


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
