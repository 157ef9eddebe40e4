"""Small ONNX nets with structure, made by hand: what quantises them need not come from a network."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

RNG = np.random.default_rng(0)


def weight(name, *shape, scale=None):
    """A tensor of a normal distribution, of He's scale."""
    fan_in = int(np.prod(shape[1:])) or 1
    values = RNG.normal(0, scale or np.sqrt(2 / fan_in), shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def model(nodes, weights, classes, side=16):
    """Nodes between "image" uint8 [batch, side, side, 3] and "logits"."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", side, side, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    helper.set_model_props(made, {"jaxcls": "1", "precision": "float32", "classes": '["a", "b"]'})
    return made


def head():
    """Nodes and weights of the normalisation: "image" to "x0", [batch, 3, side, side], about normal."""
    nodes = [
        helper.make_node("Transpose", ["image"], ["turned"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["turned"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["pixels", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["x0"]),
    ]
    return nodes, [numpy_helper.from_array(np.float32(value), name) for value, name in ((128, "mean"), (64, "std"))]


def convolutions(classes=10, depth=3, width=16, last="Gemm", softmax=False):
    """A net of residual convolutions; `last`: "Gemm", or "Conv" with its mean behind it."""
    nodes, weights = head()
    weights += [weight("w", width, 3, 3, 3), weight("b", width, scale=0.1)]
    nodes += [helper.make_node("Conv", ["x0", "w", "b"], ["c"], name="stem", pads=[1] * 4)]
    nodes += [helper.make_node("Relu", ["c"], ["r0"])]
    for i in range(depth):
        weights += [weight(f"w{i}", width, width, 3, 3), weight(f"b{i}", width, scale=0.1)]
        nodes += [
            helper.make_node("Conv", [f"r{i}", f"w{i}", f"b{i}"], [f"c{i}"], name=f"conv{i}", pads=[1] * 4),
            helper.make_node("Add", [f"c{i}", f"r{i}"], [f"a{i}"]),
            helper.make_node("Relu", [f"a{i}"], [f"r{i + 1}"]),
        ]
    out = "scores" if softmax else "logits"
    if last == "Gemm":
        weights += [weight("wl", width, classes), weight("bl", classes, scale=0.1)]
        nodes += [
            helper.make_node("GlobalAveragePool", [f"r{depth}"], ["mean4"]),
            helper.make_node("Flatten", ["mean4"], ["flat"]),
            helper.make_node("Gemm", ["flat", "wl", "bl"], [out], name="last"),
        ]
    else:
        weights += [weight("wl", classes, width, 1, 1), weight("bl", classes, scale=0.1)]
        nodes += [
            helper.make_node("Conv", [f"r{depth}", "wl", "bl"], ["cl"], name="last"),
            helper.make_node("Relu", ["cl"], ["rl"]),
            helper.make_node("GlobalAveragePool", ["rl"], ["mean4"]),
            helper.make_node("Flatten", ["mean4"], [out]),
        ]
    if softmax:
        nodes += [helper.make_node("Softmax", ["scores"], ["logits"])]
    return model(nodes, weights, classes)


def products(classes=10, depth=3, width=48, side=16):
    """A net of MatMuls with norms, as a mixer's."""
    nodes, weights = head()
    weights += [numpy_helper.from_array(np.array([0, 3 * side * side]), "size"), weight("w", 3 * side * side, width)]
    nodes += [
        helper.make_node("Reshape", ["x0", "size"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["h0"], name="stem"),
    ]
    for name, value in (("one", np.ones), ("zero", np.zeros)):
        weights += [numpy_helper.from_array(value(width, np.float32), name)]
    for i in range(depth):
        weights += [weight(f"w{i}", width, width), weight(f"b{i}", width, scale=0.1)]
        nodes += [
            helper.make_node("LayerNormalization", [f"h{i}", "one", "zero"], [f"n{i}"]),
            helper.make_node("MatMul", [f"n{i}", f"w{i}"], [f"m{i}"], name=f"product{i}"),
            helper.make_node("Add", [f"m{i}", f"b{i}"], [f"p{i}"]),
            helper.make_node("Gelu", [f"p{i}"], [f"h{i + 1}"]),
        ]
    weights += [weight("wl", width, classes), weight("bl", classes, scale=0.1)]
    nodes += [helper.make_node("Gemm", [f"h{depth}", "wl", "bl"], ["logits"], name="last")]
    return model(nodes, weights, classes)


def pictures(n, side=16, seed=1):
    """Smooth random pictures, uint8 [n, side, side, 3]."""
    rng = np.random.default_rng(seed)
    rough = rng.integers(0, 256, (n, 4, 4, 3)).repeat(side // 4, 1).repeat(side // 4, 2)
    return np.clip(rough + rng.normal(0, 20, (n, side, side, 3)), 0, 255).astype(np.uint8)


def run(made, images):
    """What ONNX Runtime answers."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images})[0]
