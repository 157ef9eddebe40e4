"""From the finished graph to an ONNX model: what is pending is written, what nobody reads is left out."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxcls.export.graph import Graph, Node

if TYPE_CHECKING:
    import onnx

IR_VERSION = 10  # of opset 21


class Result(NamedTuple):
    """What comes out: the tensor, the name that it gets, its sizes, None for the batch."""

    tensor: str
    name: str
    sizes: Sequence[int | None]


def model(
    graph: Graph,
    results: Sequence[Result],
    picture: tuple[Sequence[int], Any],
    metadata: Mapping[str, str],
    opset: int,
) -> "onnx.ModelProto":
    """The ONNX model.

    Args:
      graph: all nodes.
      results: what comes out; no two of one tensor.
      picture: (shape without the batch, dtype) of the input "image".
      metadata: of the model.
      opset: of its operators.
    """
    import onnx
    from onnx import helper, numpy_helper

    from jaxcls import __version__

    nodes = needed(merged(written(graph)), [result.tensor for result in results])
    names = {result.tensor: result.name for result in results}
    for node in nodes:
        node.outputs = [names.get(name, name) for name in node.outputs]
        node.inputs = [names.get(name, name) for name in node.inputs]
    read = {name for node in nodes for name in node.inputs}
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(picture[1]))
    inputs = [helper.make_tensor_value_info("image", kind, ["batch", *picture[0]])]
    outputs = [
        helper.make_tensor_value_info(result.name, onnx.TensorProto.FLOAT, [n or "batch" for n in result.sizes])
        for result in results
    ]
    constants = [numpy_helper.from_array(array, name) for name, array in graph.constants.items() if name in read]
    proto = helper.make_graph([_proto(node) for node in _labelled(nodes)], "jaxcls", inputs, outputs, constants)
    made = helper.make_model(
        proto,
        opset_imports=[helper.make_opsetid("", opset)],
        producer_name="jaxcls",
        producer_version=__version__,
        ir_version=IR_VERSION,
    )
    helper.set_model_props(made, dict(metadata))
    return made


def _proto(node):
    from onnx import helper

    return helper.make_node(node.op, node.inputs, node.outputs, name=node.label, **node.attributes)


def _labelled(nodes):
    """The nodes with names of their own: module and operator, numbered where there are several."""
    seen: dict[str, int] = {}
    for node in nodes:
        label = f"{node.label}/{node.op}".lstrip("/")
        seen[label] = seen.get(label, 0) + 1
        node.label = label if seen[label] == 1 else f"{label}_{seen[label]}"
    return nodes


def written(graph: Graph) -> list[Node]:
    """All nodes, with what was pending."""
    return [node for entry in graph.nodes for node in ([entry] if isinstance(entry, Node) else entry.nodes(graph))]


def merged(nodes: list[Node]) -> list[Node]:
    """A Reshape of a Reshape is one: none of ours copies a size from what it reshapes."""
    before = {node.outputs[0]: node.inputs[0] for node in nodes if node.op == "Reshape"}
    for node in nodes:
        if node.op == "Reshape":
            while node.inputs[0] in before:
                node.inputs[0] = before[node.inputs[0]]
    return nodes


def needed(nodes: list[Node], results: Sequence[str]) -> list[Node]:
    """The nodes that the results depend on, in order."""
    wanted, kept = set(results), []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            wanted.update(node.inputs)
            kept.append(node)
    return kept[::-1]
