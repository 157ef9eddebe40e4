"""Small ONNX files, made by onnx.helper, of nets whose answers NumPy computes as well."""

import json
import types

import numpy as np
import pytest

from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.runtime import extras, metadata

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

CLASSES = ("cat", "dog", "owl")
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
DECISION = {
    "step": 7, "split": "validation", "count": 50, "classes": list(CLASSES), "temperature": 1.7,
    "thresholds": [{"class": "owl", "index": 2, "kind": "recall", "wanted": 0.9, "threshold": 0.2}], "costs": None,
    "abstention": {"risk": 0.1, "sureness": 0.95, "threshold": 0.5, "bound": 0.09, "answered": 40, "mistakes": 1,
                   "count": 50},
    "sets": {"coverage": 0.9, "threshold": 0.25, "count": 50},
    "outliers": {"accepted": 0.95, "energy": {"threshold": -1.0}},
}  # fmt: skip


def weights(classes=3, seed=0):
    return np.random.default_rng(seed).normal(size=(3, classes)).astype(np.float32) * 4


def by_hand(images, kernel=None, mean=MEAN, std=STD):
    """float64 logits of `model`: mean colour of the normalised picture times the kernel."""
    normal = (images.astype(np.float64) / 255 - np.array(mean)) / np.array(std)
    return normal.mean(axis=(1, 2)) @ (weights() if kernel is None else kernel)


def model(path, told=None, *, shape=("batch", 16, 16, 3), dtype="uint8", kernel=None, inside=True, softmax=False,
          features=False):  # fmt: skip
    """Saves a net: (normalised, where `inside`) -> mean over pixels -> times a kernel. `told`: its metadata. With
    `features` it gives the normalised picture as its last map, and the mean."""
    from onnx import TensorProto, helper, numpy_helper

    first = shape[1] == 3 and shape[3] != 3
    kernel = weights() if kernel is None else kernel
    statistics = [np.reshape(np.array(x, np.float32), (3, 1, 1) if first else (3,)) for x in (MEAN, STD)]
    constants = {"mean": statistics[0], "std": statistics[1], "levels": np.float32(255), "kernel": kernel}
    constants["axes"] = np.array([2, 3] if first else [1, 2], np.int64)
    nodes = [helper.make_node("Cast", ["image"], ["x0"], to=TensorProto.FLOAT)]
    if inside:
        steps = (("Div", "levels"), ("Sub", "mean"), ("Div", "std"))
        nodes += [helper.make_node(op, [f"x{i}", name], [f"x{i + 1}"]) for i, (op, name) in enumerate(steps)]
    last = nodes[-1].output[0]
    nodes.append(helper.make_node("ReduceMean", [last, "axes"], ["mean_colour"], keepdims=0))
    nodes.append(helper.make_node("MatMul", ["mean_colour", "kernel"], ["z" if softmax else "answer"]))
    if softmax:
        nodes.append(helper.make_node("Softmax", ["z"], ["answer"], axis=1))
    outputs = [helper.make_tensor_value_info("answer", TensorProto.FLOAT, (shape[0], kernel.shape[1]))]
    if features:
        nodes.append(helper.make_node("Transpose", [last], ["last_map"], perm=[0, 3, 1, 2]))
        outputs += [helper.make_tensor_value_info("last_map", TensorProto.FLOAT, (shape[0], 3, *shape[1:3])),
                    helper.make_tensor_value_info("mean_colour", TensorProto.FLOAT, (shape[0], 3))]  # fmt: skip
        about = {"pre_logits": "mean_colour", "map": "last_map", "layout": "nchw", "why_no_map": ""}
        told = {**told, "features": json.dumps(about), "head": extras.packed(kernel, "<f4")}
    kind = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}[dtype]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("image", kind, shape)],
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    helper.set_model_props(made, dict(told or {}))
    onnx.save(made, path)
    return path


def network(**changes):
    """Something with a Network's attributes, of `model`."""
    fields = {
        "title": "a net", "name": "net", "model": None, "classes": CLASSES, "output": "softmax", "views": (),
        "preprocessing": Preprocessing(("resize(20)", "center_crop(16)"), MEAN, STD), "calibration": DECISION,
        "averaged": True, "step": 7, "data": "folder/x", "source": {},
    }  # fmt: skip
    return types.SimpleNamespace(**{**fields, **changes})


def told(output="logits", **changes):
    return metadata.of(network(**changes), output=output, precision="float32")
