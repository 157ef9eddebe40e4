"""An ONNX file that knows digits: least squares on scikit-learn's, a function of pictures without any training run."""

import io

import numpy as np
import onnx_files
from PIL import Image

from jaxcls.augment.preprocessing import Preprocessing

DECISION = {
    **onnx_files.DECISION, "classes": list("0123456789"), "temperature": 1.0, "thresholds": [],
    "abstention": {**onnx_files.DECISION["abstention"], "threshold": 0.4},
    "outliers": {"accepted": 0.95, "energy": {"threshold": 100.0}},
}  # fmt: skip


def digits():
    """(uint8 [n, 8, 8], labels [n]) of scikit-learn."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return (found.images * 15.9).astype(np.uint8), found.target


def write(path, classes=tuple("0123456789"), **told):
    """Saves the file; `classes` names its outputs."""
    from onnx import TensorProto, helper, numpy_helper, save

    images, labels = digits()
    inputs = np.hstack([images.reshape(-1, 64) / 255.0, np.ones((len(images), 1))])
    kernel = 12 * np.linalg.solve(inputs.T @ inputs + np.eye(65), inputs.T @ np.eye(10)[labels])
    constants = {"shape": np.array([-1, 64]), "kernel": kernel[:64].astype(np.float32) / 255,
                 "bias": kernel[64].astype(np.float32)}  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["float", "shape"], ["flat"]),
        helper.make_node("Gemm", ["flat", "kernel", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes, "digits", [helper.make_tensor_value_info("image", TensorProto.UINT8, ("batch", 8, 8, 1))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("batch", 10))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    preprocessing = Preprocessing((), (0.0,), (1.0,), 1, (8, 8, 1))
    known = {"name": "linear", "data": "digits", "preprocessing": preprocessing, "classes": classes}
    decision = {**DECISION, "classes": list(classes)}
    helper.set_model_props(made, onnx_files.told(**{**known, "calibration": decision, **told}))
    save(made, path)
    return path


def png(digit, nth=0):
    """The bytes of a PNG of a digit."""
    images, labels = digits()
    file = io.BytesIO()
    Image.fromarray(images[np.flatnonzero(labels == digit)[nth]]).save(file, "PNG")
    return file.getvalue()
