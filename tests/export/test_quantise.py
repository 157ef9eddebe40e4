"""INT8 and float16 files answer as the float ones do, keep what they say about themselves, and say what can't be."""

import collections

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
import small_nets as nets
from onnx import numpy_helper

from jaxcls.errors import UserError
from jaxcls.export import half, quantise, sensitive, weighted

IMAGES = nets.pictures(64)
CALIBRATION = [nets.pictures(16, seed=2)]


def said(model):
    return {entry.key: entry.value for entry in model.metadata_props}


def error(model, other):
    a, b = nets.run(model, IMAGES), nets.run(other, IMAGES)
    return np.abs(a - b).max() / np.abs(a).max()


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_static_is_near_the_float_model_and_keeps_its_metadata(method, capfd):
    net = nets.convolutions()
    before = net.SerializeToString()
    made = quantise.static(net, CALIBRATION, method=method)
    assert error(net, made) < (0.25 if method == "entropy" else 0.08)
    assert said(made) == {**said(net), "precision": "int8"}
    assert net.SerializeToString() == before
    onnx.checker.check_model(made)
    assert len(made.SerializeToString()) < 0.6 * len(before)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("target, most", [("any", 64), ("vnni", 127), ("arm", 127)])
def test_weights_use_seven_bits_unless_a_target_bears_eight(target, most):
    made = quantise.static(nets.convolutions(), CALIBRATION, target=target)
    weights = [numpy_helper.to_array(t) for t in made.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    kernels = [w for w in weights if w.ndim == 4]
    assert len(kernels) == 4
    assert max(np.abs(w.astype(int)).max() for w in kernels) in range(most - 1, most + 1)
    for kernel in kernels:  # per channel: each reaches the range
        assert (np.abs(kernel.astype(int)).reshape(len(kernel), -1).max(axis=1) >= most - 1).all()


def test_weights_of_seven_bits_by_hand():
    """Symmetric, per output channel: w / (max |w| / 64), rounded."""
    net = nets.convolutions()
    made = quantise.static(net, CALIBRATION)
    kernel = next(numpy_helper.to_array(t) for t in net.graph.initializer if t.name == "w1")
    found = next(numpy_helper.to_array(t) for t in made.graph.initializer if t.name == "w1_quantized")
    scale = np.abs(kernel).reshape(len(kernel), -1).max(axis=1)[:, None, None, None] / 64
    assert np.abs(np.rint(kernel / scale).clip(-64, 64) - found).max() <= 1  # ORT's scale is of float32


@pytest.mark.parametrize("net", [nets.convolutions(), nets.convolutions(softmax=True)])
def test_the_ends_stay_in_float(net):
    """The product gives floats, so answers take many values, and no Softmax is of 8 bits."""
    made = quantise.static(net, CALIBRATION)
    answers = nets.run(made, IMAGES)
    assert len(np.unique(answers)) > 256
    users = collections.defaultdict(list)
    for node in made.graph.node:
        for name in node.input:
            users[name].append(node.op_type)
    last = next(node for node in made.graph.node if node.name == "last")
    assert "QuantizeLinear" not in users[last.output[0]]
    kinds = [node.op_type for node in made.graph.node]
    assert "QuantizeLinear" not in kinds[: kinds.index("Div")]


def test_a_relu_behind_the_last_convolution_is_not_lost():
    """ONNX Runtime's quantiser drops a Relu whose work the zero point of its pair does: then the pair must stay."""
    net = nets.convolutions(last="Conv")
    made = quantise.static(net, CALIBRATION)
    assert nets.run(made, IMAGES).min() >= 0
    assert error(net, made) < 0.08


def test_layers_kept_in_float_and_alone_in_int8():
    source = quantise.calibrated(nets.convolutions(), CALIBRATION)
    names = [layer.name for layer in weighted.layers(source.model)]
    assert names == ["stem", "conv0", "conv1", "conv2", "last"]
    int8 = lambda m: sum(t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1 for t in m.graph.initializer)  # noqa: E731
    assert int8(quantise.quantised(source)) == 5
    assert int8(quantise.quantised(source, keep_float=["conv1", "last"])) == 3
    assert int8(quantise.quantised(source, only=["conv1"])) == 1


def test_multiply_adds_by_hand():
    found = {layer.name: layer.multiply_adds for layer in weighted.layers(weighted.named(nets.convolutions()))}
    assert found["stem"] == 16 * 16 * 16 * 27
    assert found["conv0"] == 16 * 16 * 16 * 16 * 9
    assert found["last"] == 160
    assert weighted.share_of_convolutions(weighted.named(nets.products())) == 0


def test_dynamic_is_for_products():
    net = nets.products()
    assert quantise.way(net)[0] == "dynamic"
    made = quantise.dynamic(net)
    assert error(net, made) < 0.08
    assert said(made)["precision"] == "int8"
    assert "DynamicQuantizeLinear" in {node.op_type for node in made.graph.node}
    assert error(net, quantise.static(net, CALIBRATION)) < 0.25  # forced: what norms give has a long tail


def test_dynamic_is_refused_for_convolutions():
    net = nets.convolutions()
    assert quantise.way(net)[0] == "static"
    with pytest.raises(UserError, match=r"--int8=dynamic: 100 % .* in convolutions, .* slower"):
        quantise.way(net, "dynamic")


def test_no_pictures_is_a_line():
    with pytest.raises(UserError, match="pictures to calibrate on"):
        quantise.static(nets.convolutions(), [])


@pytest.mark.parametrize("net", [nets.convolutions(), nets.products()])
def test_float16(net):
    made = half.half(net)
    onnx.checker.check_model(made)
    assert made.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert nets.run(made, IMAGES).dtype == np.float32
    assert error(net, made) < 5e-3
    assert said(made) == {**said(net), "precision": "float16"}
    assert len(made.SerializeToString()) < 0.65 * len(net.SerializeToString())


def test_the_sensitive_layer_is_found_and_kept_in_float():
    """A layer with one input channel 2,000 times the others, of which 8 bits per tensor leave nothing."""
    net = nets.convolutions()
    for tensor in net.graph.initializer:
        if tensor.name in ("w0", "b0", "w1"):
            values = numpy_helper.to_array(tensor).copy()
            if tensor.name == "w1":
                values[:, 3] /= 2000
            else:
                values[3] *= 2000
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in net.graph.node:  # without the shortcut the large channel is met by conv1 alone
        if node.op_type == "Add" and node.output[0] in ("a0", "a1"):
            node.input[1] = node.input[0]
    bias = next(tensor for tensor in net.graph.initializer if tensor.name == "bl")  # so that no class has them all
    centred = numpy_helper.to_array(bias) - nets.run(net, IMAGES).mean(axis=0)
    bias.CopyFrom(numpy_helper.from_array(centred, "bl"))
    source = quantise.calibrated(net, CALIBRATION)
    reference = nets.run(net, IMAGES).argmax(axis=1)
    drop = sensitive.drop_of(reference, reference, lambda: [IMAGES[:32], IMAGES[32:]])
    names = [layer.name for layer in weighted.layers(source.model)]

    def build(**options):
        return quantise.quantised(source, **options)

    lines = []
    whole = drop(sensitive.ask(build()))
    found = sensitive.search(build, source.model, names, IMAGES[:16], drop, wanted=5.0, note=lines.append)
    assert whole > 5.0 >= found.drop
    assert found.ranking[0][0] in ("conv0", "conv1")
    assert 1 <= len(found.kept) <= 3
    assert lines
