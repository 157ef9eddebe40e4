"""What stands before the first layer and behind the last one stays in float in a static INT8 model."""

from typing import Any

from jaxcls.export import weighted


def around_the_layers(graph: Any) -> list[str]:
    """Names of the nodes that no layer comes before, and of those that none comes after, but for activations: what
    stands behind a convolution costs nothing there."""
    ends = _untouched(reversed(graph.node), "input", "output")
    starts = _untouched(graph.node, "output", "input")
    return [*(n.name for n in starts), *(n.name for n in ends if n.op_type not in ("Relu", "Clip"))]


def _untouched(nodes, onward, back):
    """The nodes, in the order in which they come, that no layer has a part in."""
    touched: set[str] = set()
    found = []
    for node in nodes:
        if node.op_type in weighted.WEIGHTED or touched.intersection(getattr(node, back)):
            touched.update(getattr(node, onward))
        else:
            found.append(node)
    return found


def open_the_end(model: Any) -> None:
    """Takes the pair (QuantizeLinear, DequantizeLinear) away that follows the last product, in place: logits of 8 bits
    would tie. ONNX Runtime's products give floats as well; its convolutions don't, so behind them the pair stays."""
    graph = model.graph
    made = {name: node for node in graph.node for name in node.output}
    name = graph.output[0].name
    while (node := made.get(name)) is not None and node.op_type not in ("DequantizeLinear", *weighted.WEIGHTED):
        name = next((taken for taken in node.input if taken in made), "")
    if node is None or node.op_type != "DequantizeLinear":
        return
    pair = made.get(node.input[0])
    product = made.get(pair.input[0]) if pair is not None else None
    if product is None or product.op_type not in ("Gemm", "MatMul"):
        return
    for user in graph.node:
        for i, taken in enumerate(user.input):
            if taken == name:
                user.input[i] = product.output[0]
    if name == graph.output[0].name:
        product.output[0] = name
    graph.node.remove(pair)
    graph.node.remove(node)
    used = {taken for user in graph.node for taken in user.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
