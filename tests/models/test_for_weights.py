"""What weights of other libraries want of the mobile nets, and what other libraries want of our state dicts."""

import collections
import io
import pickle
import zipfile
from functools import partial

import jax
import numpy as np
import pytest
from jax import lax

from jaxcls import models
from jaxcls.cli.command import main
from jaxcls.errors import UserError
from jaxcls.models import layers, torch_files, weight_files
from jaxcls.models.efficientnet import EfficientNet
from jaxcls.models.layers import convolve
from jaxcls.models.mnasnet import MNASNet
from jaxcls.models.mobilenet_v2 import MobileNetV2
from jaxcls.models.mobilenet_v3 import MobileNetV3
from jaxcls.models.state_dict import to_state_dict

# One block that halves, in each family.
SMALL = {
    "mobilenet_v2": partial(MobileNetV2, rows=((2, 8, 1, 2),), width_mult=0.25),
    "mobilenet_v3": partial(MobileNetV3, rows=((5, 16, 8, True, "HS", 2),), hidden=8, width_mult=0.5),
    "mnasnet": partial(MNASNet, rows=((8, 5, 2, 2, 1),), width_mult=0.25),
    "efficientnet": partial(EfficientNet, rows=((2, 5, 2, 8, 1),), first=8, last=8),
}

FAMILIES = [family if family == "mobilenet_v2" else pytest.param(family, marks=pytest.mark.slow) for family in SMALL]


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("kernel, stride, side", [(3, 2, 8), (5, 2, 9), (5, 2, 8), (3, 3, 7), (1, 1, 5)])
def test_the_padding_of_tensorflow(kernel, stride, side, groups):
    """Its formula (as tf.nn.convolution states it), then no padding; in the forms for the CPU, and XLA's."""
    x = np.random.default_rng(0).normal(size=(1, side, side + 1, 8)).astype(np.float32)
    layer = layers.conv(8, kernel, stride, groups=groups, padding="same")
    got, variables = layer.init_with_output(jax.random.key(0), x)
    around = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[1:3]]
    padded = np.pad(x, ((0, 0), *((total // 2, total - total // 2) for total in around), (0, 0)))
    expected = lax.conv_general_dilated(
        padded, variables["params"]["kernel"], (stride,) * 2, "VALID",
        dimension_numbers=convolve.DIMENSIONS, feature_group_count=groups,
    )  # fmt: skip
    np.testing.assert_allclose(got, expected, atol=1e-5)
    with convolve.plain():
        np.testing.assert_allclose(layer.apply(variables, x), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_nets_pad_as_they_are_told(family, drawn):
    """On sides that stay odd the two paddings are the same; on others they are not."""
    torch, same = (SMALL[family](num_classes=3, padding=padding) for padding in ("torch", "same"))
    variables = drawn(torch, 17, 17, 3)
    picture = np.random.default_rng(1).normal(size=(1, 17, 17, 3)).astype(np.float32)
    np.testing.assert_allclose(
        torch.apply(variables, picture)[0], same.apply(variables, picture)[0], rtol=1e-4, atol=1e-6
    )
    picture = picture[:, :16, :16]
    assert not np.allclose(torch.apply(variables, picture)[0], same.apply(variables, picture)[0], rtol=1e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_epsilon_is_added_to_the_variance(family, drawn):
    less, more = (SMALL[family](num_classes=3, epsilon=epsilon) for epsilon in (1e-5, 0.5))
    variables = drawn(less, 8, 8, 3)
    raised = {**variables, "batch_stats": jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf + np.float32(0.5 - 1e-5) * (path[-1].key == "var"), variables["batch_stats"]
    )}  # fmt: skip
    picture = np.random.default_rng(1).normal(size=(1, 8, 8, 3)).astype(np.float32)
    expected = less.apply(raised, picture)[0]
    np.testing.assert_allclose(more.apply(variables, picture)[0], expected, rtol=1e-4, atol=1e-6)
    assert not np.allclose(less.apply(variables, picture)[0], expected, rtol=1e-2)


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "efficientnet_b0"])
def test_other_values_are_refused(name):
    with pytest.raises(UserError, match="padding must be one of torch, same, not 'tf'"):
        models.create(name, padding="tf")
    with pytest.raises(UserError, match="epsilon must be positive, not 0"):
        models.create(name, epsilon=0)


# State dicts as their libraries want them: shapes as torchvision 0.29 and timm 1.0.31 have them.


def zeros(abstract, name, *shape):
    return to_state_dict(
        jax.tree.map(lambda x: np.broadcast_to(np.float32(0), x.shape), abstract(models.create(name), *shape))
    )


def test_tables_of_swin(abstract):
    state = models.create("swin_v2_t").for_library(zeros(abstract, "swin_v2_t", 64, 64, 3))
    index = [key for key in state if key.endswith("relative_position_index")]
    offsets = [key for key in state if key.endswith("relative_coords_table")]
    assert len(index) == len(offsets) == 12 and "features.7.1.attn.relative_position_index" in index
    assert state[index[0]].shape == (4096,) and state[index[0]].dtype == np.int64
    assert state[offsets[0]].shape == (1, 15, 15, 2) and state[offsets[0]].dtype == np.float32
    y, x, w, v = 5, 3, 2, 7  # a query and a key: offset (3, -4) of -7 to 7
    assert state[index[0]][(8 * y + x) * 64 + 8 * w + v] == (3 + 7) * 15 + (-4 + 7)
    np.testing.assert_allclose(state[offsets[0]][0, 0, 14], [-1.0566, 1.0566], atol=1e-4)  # log2(9) / 3


def test_the_last_layer_of_timms_resnetv2(abstract):
    state = zeros(abstract, "resnetv2_50", 32, 32, 3)
    assert models.create("resnetv2_50").for_library(state)["head.fc.weight"].shape == (1000, 2048, 1, 1)
    kuangliu = models.create("preact_resnet18", num_classes=10)
    assert kuangliu.for_library({"linear.weight": np.zeros((10, 512))})["linear.weight"].shape == (10, 512)


class Unpickler(pickle.Unpickler):
    """Python's own, for a state dict: of tensors only that there was one."""

    def find_class(self, module, name):
        return collections.OrderedDict if name == "OrderedDict" else lambda *_: "tensor"

    def persistent_load(self, storage):
        return storage


def unpickled(path):
    with zipfile.ZipFile(path) as archive:
        return Unpickler(io.BytesIO(archive.read("archive/data.pkl"))).load()


def test_mnasnet_is_written_with_its_version(tmp_path, abstract):
    """torchvision's MNASNet raises ValueError for a state dict without it, which safetensors can't hold."""
    model, state = models.create("mnasnet0_5"), zeros(abstract, "mnasnet0_5", 32, 32, 3)
    weight_files.write(tmp_path / "x.pth", state, {}, model.versions)
    found = unpickled(tmp_path / "x.pth")
    assert found._metadata == {"": {"version": 2}} and list(found) == list(state)
    assert weight_files.read(tmp_path / "x.pth").tensors.keys() == state.keys()
    weight_files.write(tmp_path / "y.pth", state, {})
    assert not hasattr(unpickled(tmp_path / "y.pth"), "_metadata")
    with pytest.raises(UserError, match="safetensors has no place; let the name end in .pth"):
        weight_files.write(tmp_path / "x.safetensors", state, {}, model.versions)
    assert not (tmp_path / "x.safetensors").exists()


def test_versions_of_several_modules():
    file = io.BytesIO()
    torch_files.write(file, {"a": np.zeros(2, np.float32)}, {"": 2, "a.b": 300})
    assert unpickled(file)._metadata == {"": {"version": 2}, "a.b": {"version": 300}}


@pytest.mark.usefixtures("bare_end")
def test_export_of_a_published_file_keeps_what_it_says(tmp_path, abstract, capsys):
    state = zeros(abstract, "mnasnet0_5", 32, 32, 3)
    weight_files.write(tmp_path / "a.safetensors", state, {"model": "mnasnet0_5", "fields": '{"padding": "same"}',
                       "normalize": '{"mean": [0.5], "std": [0.5]}'})  # fmt: skip
    arguments = ["export", str(tmp_path / "a.safetensors"), "--model=mnasnet0_5", "--size=32", "--out"]
    assert main([*arguments, str(tmp_path / "b.pth")]) == 2
    assert (
        "its metadata says padding same, which is not what is set; add --field padding=same" in capsys.readouterr().err
    )
    assert main([*arguments, str(tmp_path / "b.pth"), "--field", "padding=same"]) == 0
    assert unpickled(tmp_path / "b.pth")._metadata == {"": {"version": 2}}
