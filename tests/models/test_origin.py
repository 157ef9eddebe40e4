"""What a source of weights says of itself, how that is compared with the config, and what is told of the rest."""

import argparse
import json
import pickle
import sys

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcls import models
from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.errors import UserError
from jaxcls.models import architectures, basis, origin, pretrained, weight_files
from jaxcls.models.basis import Use
from jaxcls.models.mobilenet_v2 import MobileNetV2
from jaxcls.models.origin import Says
from jaxcls.models.state_dict import to_state_dict
from jaxcls.models.torch_pickle import Machine

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
TF = {
    "architecture": "tf_mobilenetv3_small_100",
    "num_classes": 1000,
    "pretrained_cfg": {**HALF, "input_size": [3, 224, 224], "crop_pct": 0.875, "interpolation": "bilinear"},
}
UNIT = Use("mobilenet_v3_small", (0.0,), (1.0,))


def says(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return origin.of_config(path)


# timm 1.0.31's own modules: BatchNorm's eps, whether there are Conv2dSame
@pytest.mark.parametrize(
    "theirs, ours, fields",
    [
        ("mobilenetv2_100.ra_in1k", "mobilenet_v2", {"padding": "torch", "epsilon": 1e-5}),
        ("timm/mobilenetv2_050", "mobilenet_v2", {"padding": "torch", "epsilon": 1e-5, "width_mult": 0.5}),
        ("mobilenetv3_large_100", "mobilenet_v3_large", {"padding": "torch", "epsilon": 1e-5}),
        ("tf_mobilenetv3_small_100.in1k", "mobilenet_v3_small", {"padding": "same", "epsilon": 1e-3}),
        ("efficientnet_b5", "efficientnet_b5", {"padding": "torch", "epsilon": 1e-5}),
        ("tf_efficientnet_b7.ns_jft_in1k", "efficientnet_b7", {"padding": "same", "epsilon": 1e-3}),
        ("tf_efficientnetv2_s.in21k", "efficientnet_v2_s", {"padding": "same", "epsilon": 1e-3}),
        ("mobilenetv2_110d.ra_in1k", "mobilenetv2_110d", {}),
        ("convnextv2_atto.fcmae_ft_in1k", "convnextv2_atto", {}),
        ("mnasnet_100", "mnasnet1_0", {"padding": "torch", "epsilon": 1e-5}),
        ("regnetx_016", "regnet_x_1_6gf", {}),
        ("regnety_008_tv", "regnet_y_800mf", {}),
        ("vit_base_patch16_384", "vit_base_patch16_224", {}),
        ("deit_tiny_distilled_patch16_224", "deit_tiny_distilled_patch16_224", {}),
        ("swin_base_patch4_window12_384", "swin_b", {"window_size": 12}),
        ("resnet50d", "resnet50d", {}),
    ],
)
def test_architectures_of_timm(theirs, ours, fields):
    found = architectures.find(theirs)
    assert found.models[0] == ours and found.fields == fields
    basis.check(models.create(ours, **fields), Says("x", theirs, found.models, found.fields), Use(ours))


@pytest.mark.parametrize("name", ["tf_efficientnet_b0", "tf_efficientnetv2_m", "tf_mobilenetv3_large_100",
                                  "mobilenetv2_050", "mobilenetv2_140", "resnetv2_50x1_bit", "repvgg_b0"])  # fmt: skip
def test_models_of_timms_names_are_what_timm_says(name):
    found = architectures.find(f"{name}.tag")
    assert name in found.models
    basis.check(models.create(name), Says("x", name, found.models, found.fields), Use(name))


@pytest.mark.parametrize("name", ["regnety_008", "tf_efficientnet_b8", "mobilenetv3_large_075", "resnet50_gn", "x", ""])
def test_other_architectures_are_known_to_be_none_of_ours(name):
    assert not getattr(architectures.find(name), "models", ())


def test_a_config_that_says_otherwise_is_refused_with_the_settings_for_it(tmp_path):
    found = says(tmp_path, TF)
    with pytest.raises(UserError) as error:
        basis.check(models.create("mobilenet_v3_small"), found, UNIT)
    assert str(error.value) == (
        "its config.json says padding same and mean 0.5 and std 0.5, which is not what is set; add "
        "--config.model.fields.padding=same --config.data.normalize=symmetric"
    )
    basis.check(models.create("mobilenet_v3_small", padding="same"), found, UNIT._replace(mean=(0.5,), std=(0.5,)))
    odd = says(tmp_path, {**TF, "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [1, 2, 3]}})
    with pytest.raises(UserError, match=r"--config.data.mean='\(0.1, 0.2, 0.3,\)' --config.data.std='\(1, 2, 3,\)'"):
        basis.check(models.create("mobilenet_v3_small", padding="same"), odd, UNIT)


def test_a_mean_alone_and_how_a_teacher_is_set():
    teacher = Use(
        "resnet18", (0.0,), (1.0,), field="--config.distill.fields='(\"{}={}\",)'", data="--config.distill.{}={}"
    )
    with pytest.raises(UserError, match=r"says mean 0.1, 0.2, 0.3, .* add --config.distill.mean='\(0.1, 0"):
        basis.check(models.create("resnet18"), Says("x", "resnet18", ("resnet18",), mean=(0.1, 0.2, 0.3)), teacher)


def test_another_architecture_names_both_and_the_setting(tmp_path):
    with pytest.raises(UserError) as error:
        basis.check(models.create("resnet18"), says(tmp_path, TF), Use("resnet18"))
    assert str(error.value) == (
        "its config.json says that it is a tf_mobilenetv3_small_100, not resnet18; use "
        "--config.model.name=mobilenet_v3_small or --config.model.name=tf_mobilenetv3_small_100 "
        "--config.model.fields.padding=same --config.model.fields.epsilon=0.001"
    )
    with pytest.raises(UserError, match="a resnet50_gn, which is none of the models here, not resnet50"):
        basis.check(models.create("resnet50"), says(tmp_path, {"architecture": "resnet50_gn"}), Use("resnet50"))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"bn_eps": 1e-4}, "says epsilon 0.0001, .*add --config.model.fields.epsilon=0.0001"),
        ({"pad_type": ""}, "says padding torch"),
        ({"act_layer": "gelu"}, "says act_layer='gelu', which mobilenet_v3_small can't do"),
    ],
)
def test_arguments_of_the_constructor(tmp_path, arguments, message):
    model = models.create("mobilenet_v3_small", padding="same")
    with pytest.raises(UserError, match=message):
        basis.check(model, says(tmp_path, {**TF, "model_args": arguments}), Use("mobilenet_v3_small"))
    basis.check(model, says(tmp_path, {**TF, "model_args": {"drop_rate": 0.3}}), Use("mobilenet_v3_small"))


def test_a_net_whose_epsilon_is_fixed_can_not_obey(tmp_path):
    found = says(tmp_path, {"architecture": "resnet18", "model_args": {"bn_eps": 1e-3}})
    with pytest.raises(UserError, match=r"says epsilon=0.001, which resnet18 can't do"):
        basis.check(models.create("resnet18"), found, Use("resnet18"))


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "can't be read"),
        ("[1]", "is no JSON object"),
        ({"model_type": "resnet", "architectures": ["ResNetForImageClassification"]},
         "is of the library transformers \\(ResNetForImageClassification\\)"),
        ({"architecture": "resnet18", "mean": "x"}, "has mean 'x'"),
        ({"architecture": "resnet18", "std": [0, 1, 1]}, "has std"),
    ],
)  # fmt: skip
def test_a_config_that_is_no_good(tmp_path, content, message):
    with pytest.raises(UserError, match=message) as error:
        says(tmp_path, content)
    assert "\n" not in str(error.value)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = ("architecture", "pretrained_cfg", "model_args", "mean", "std", "input_size", "crop_pct", "label_names",
        "interpolation", "architectures", "num_classes")  # fmt: skip


@settings(max_examples=80)
@given(st.dictionaries(st.sampled_from(KEYS), PLAIN | st.just("resnet18"), max_size=6))
def test_whatever_a_config_holds_it_is_read_or_refused(tmp_path_factory, content):
    try:
        found = says(tmp_path_factory.getbasetemp(), content)
        basis.check(models.create("resnet18"), found, Use("resnet18", (0.0,), (1.0,)))
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert found.architecture in ("resnet18", "")


@given(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), st.floats(-0.125, 0.125, width=32))
def test_means_are_the_same_or_refused(mean, moved):
    use, model = Use("resnet18", tuple(mean), (1.0,) * 3), models.create("resnet18")
    found = Says("x", "resnet18", ("resnet18",), mean=(mean[0] + moved, *mean[1:]), std=(1.0,) * 3)
    if abs(moved) < 1e-3:
        basis.check(model, found, use)
    elif abs(moved) > 3e-3:
        with pytest.raises(UserError, match="config.data.(mean|normalize)="):
            basis.check(model, found, use)


# Files, folders, the hub


@pytest.fixture
def net(drawn):
    """(a small MobileNetV2, its variables)."""
    model = MobileNetV2(rows=((1, 8, 1, 1), (2, 8, 1, 2)), width_mult=0.25, num_classes=4)
    return model, drawn(model, 32, 32, 3)


def in_timms_names(state):
    """The names of `net` as timm has them."""
    told = {"features.0.0": "conv_stem", "features.0.1": "bn1", "classifier.1": "classifier",
            "features.3.0": "conv_head",
            "features.3.1": "bn2", "features.1.conv.0.0": "blocks.0.0.conv_dw", "features.1.conv.0.1": "blocks.0.0.bn1",
            "features.1.conv.1": "blocks.0.0.conv_pw", "features.1.conv.2": "blocks.0.0.bn2",
            "features.2.conv.0.0": "blocks.1.0.conv_pw", "features.2.conv.0.1": "blocks.1.0.bn1",
            "features.2.conv.1.0": "blocks.1.0.conv_dw", "features.2.conv.1.1": "blocks.1.0.bn2",
            "features.2.conv.2": "blocks.1.0.conv_pwl", "features.2.conv.3": "blocks.1.0.bn3"}  # fmt: skip
    split = {key: key.rpartition(".") for key in state}
    return {f"{told[layer]}.{leaf}": state[key] for key, (layer, _, leaf) in split.items()}


def test_a_file_that_says_nothing_names_what_was_assumed(net, tmp_path):
    """The listed case: timm's names, all tensors fit, and neither padding nor normalisation can be seen."""
    model, variables = net
    weight_files.write(tmp_path / "x.pth", in_timms_names(to_state_dict(variables)), {})
    use = Use("mobilenet_v2", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), ("resize(32)",))
    _, report = pretrained.match(model, variables, weight_files.read(tmp_path / "x.pth"), use)
    assert report.names == "another library's" and not report.kept
    assert [(row["what"], row["value"], row["by"], row["setting"]) for row in report.basis] == [
        ("padding", "torch", "", "config.model.fields.padding"),
        ("epsilon of BatchNorm", "1e-05", "", "config.model.fields.epsilon"),
        ("mean", "0.485, 0.456, 0.406", "", "config.data.normalize"),
        ("std", "0.229, 0.224, 0.225", "", "config.data.normalize"),
        ("pictures", "resize(32)", "", "config.data.eval_transform"),
    ]
    text = str(report)
    assert (
        "assumed, for nothing says it: padding torch (config.model.fields.padding); epsilon of BatchNorm 1e-05" in text
    )
    assert "note: the names are timm's, whose tf_ models want --config.model.fields.padding=same" in text
    _, own = pretrained.match(model, variables, to_state_dict(variables), use)
    assert own.names == "the model's own" and not own.notes and "padding torch" in str(own)


def test_other_nets_tell_theirs(abstract):
    for name, norm, fixed in (("inception_v3", "BatchNorm", "0.001"), ("vit_tiny_patch16_224", "LayerNorm", "1e-06")):
        found = basis.rows(models.create(name), norm, Says(), Use(name))
        setting = "fixed" if norm == "BatchNorm" else "config.model.fields.epsilon"
        assert {"what": f"epsilon of {norm}", "value": fixed, "by": "", "setting": setting} in found
        (line,) = basis.warnings(models.create(name), False, Says(), Use(name, *map(tuple, IMAGENET.values())))
        assert line.endswith(f"{name} want mean 0.5 and std 0.5: --config.data.normalize=symmetric")
        assert not basis.warnings(models.create(name), False, Says(), Use(name, (0.5,), (0.5,)))
    assert not basis.rows(models.create("squeezenet1_1"), "", Says(), Use())


def test_what_an_export_says_is_compared_where_it_is_loaded(net, tmp_path):
    model, variables = net
    metadata = {"model": "net", "normalize": json.dumps(HALF), "fields": '{"padding": "same", "width_mult": 0.25}',
                "classes": '["a", "b", "c", "d"]', "eval_transform": '["resize(9)"]'}  # fmt: skip
    path, use = tmp_path / "x.safetensors", Use("net", (0.5,), (0.5,), ("resize(8)",), ("a", "b", "c", "d"))
    weight_files.write(path, to_state_dict(variables), metadata)
    with pytest.raises(UserError, match=f"weights {path}: its metadata says padding same, which is not what is set"):
        pretrained.match(model, variables, weight_files.read(path), use)
    with pytest.raises(UserError, match="says that it is a net, not other; use --config.model.name=net$"):
        pretrained.match(model, variables, weight_files.read(path), use._replace(name="other"))
    same = model.clone(padding="same")
    _, report = pretrained.match(same, variables, weight_files.read(path), use)
    assert "as its metadata says: architecture net; padding same; mean 0.5; std 0.5" in str(report)
    assert "pictures resize(8) (its own: resize(9))" in str(report) and not report.kept
    for classes, why in ((("b", "a", "c", "d"), "in another order"), (("a", "b", "c", "e"), "others")):
        _, report = pretrained.match(same, variables, weight_files.read(path), use._replace(classes=classes))
        assert {*report.kept.values()} == {f"the file's classes are {why}: a, b, c, d"} and len(report.kept) == 2


@pytest.mark.parametrize("place", ["folder", "file", "hub"])
def test_a_config_beside_the_weights_is_read_with_them(net, tmp_path, monkeypatch, place):
    model, variables = net
    path = tmp_path / "model.safetensors"
    weight_files.write(path, to_state_dict(variables), {})
    (tmp_path / "config.json").write_text(json.dumps(TF))

    class Hub:
        @staticmethod
        def hf_hub_download(repo, file, **_):
            return str(tmp_path / file)

    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub)
    source = {"folder": tmp_path, "file": path, "hub": "hf-hub:someone/net"}[place]
    file = weight_files.read(source)
    assert file.says.architecture == "tf_mobilenetv3_small_100" and file.path == path
    with pytest.raises(UserError, match="its config.json says that it is a tf_mobilenetv3_small_100, not"):
        pretrained.match(model, variables, file, Use("mobilenet_v2"))
    (tmp_path / "config.json").write_text('{"data": {"name": "a run of ours"}}')
    _, report = pretrained.match(model, variables, weight_files.read(source), Use("mobilenet_v2"))
    assert "note: its config.json names no architecture and was not used" in str(report)
    path.rename(tmp_path / "other.safetensors")  # what lies beside a file of any other name need not be its own
    (tmp_path / "config.json").write_text(json.dumps(TF))
    assert weight_files.read(tmp_path / "other.safetensors").says == Says()


@pytest.mark.parametrize("protocol", [2, 4])
def test_the_settings_in_a_checkpoint(protocol):
    args = argparse.Namespace(model="tf_efficientnet_b0", mean=[0.5] * 3, std=[0.5] * 3, bn_eps=None, lr=0.1, n=None)
    content = Machine(pickle.dumps({"arch": "efficientnet", "args": args}, protocol)).run()
    found = origin.of_checkpoint(content, ["module.conv_stem.weight"])
    assert found.models == ("efficientnet_b0", "tf_efficientnet_b0")
    assert found.fields == {"padding": "same", "epsilon": 1e-3}
    assert found.mean == (0.5,) * 3 and found.where == "its settings"
    torchvision = origin.of_checkpoint({"args": {"model": "efficientnet_b5"}}, ["features.0.0.weight"])
    assert torchvision.models == ("efficientnet_b5",) and not torchvision.fields  # timm's would want 1e-5
    assert origin.of_checkpoint({"arch": "resnet18"}, []).models == ("resnet18",)
    assert "'efficientnet', which is no model here" in origin.of_checkpoint({"arch": "efficientnet"}, []).note
    assert origin.of_checkpoint({"epoch": 3}, []) == Says()


@pytest.mark.parametrize(
    "theirs, ours, first",
    [
        ("resnet20_cifar", "resnet32_cifar", "60 tensors do not fit: 60 missing"),
        ("resnet32_cifar", "resnet20_cifar", "60 tensors do not fit: 60 unexpected"),
        ("vgg11", "vgg11_bn", "tensors do not fit: .* missing: .* unexpected: "),
        ("squeezenet1_0", "squeezenet1_1", "tensors do not fit"),
    ],
)
def test_weights_of_a_sister_net_are_refused_with_counts(theirs, ours, first, abstract):
    full = abstract(models.create(theirs), 64, 64, 3)
    state = to_state_dict(jax.tree.map(lambda x: np.broadcast_to(np.float32(0), x.shape), full))
    with pytest.raises(UserError, match=first):
        pretrained.match(models.create(ours), abstract(models.create(ours), 64, 64, 3), state)


def timms(image, size, crop, mode, filter):
    """timm's transforms of evaluation, in Pillow: short side (or both) to floor(size / crop), then the centre."""
    side = int(size / crop)
    width, height = image.size
    if mode == "squash":
        shape = (side, side)
    else:
        shape = (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
    made = image.resize(shape, filter)
    left, top = round((shape[0] - size) / 2), round((shape[1] - size) / 2)
    return np.asarray(made.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize("mode", ["center", "squash"])
@pytest.mark.parametrize("filter", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("shape", [(90, 131), (140, 75)])
def test_pictures_are_prepared_as_the_source_says(tmp_path, mode, filter, shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    config = {"input_size": [3, 48, 48], "crop_pct": 0.9, "interpolation": filter, "crop_mode": mode}
    found = says(tmp_path, {**TF, "pretrained_cfg": {**HALF, **config}})
    ours = Preprocessing(found.transforms, found.mean, found.std).prepare((tmp_path / "a.png").read_bytes())
    theirs = timms(Image.fromarray(pixels), 48, 0.9, mode, Image.Resampling[filter.upper()])
    np.testing.assert_array_equal(ours, theirs)


def test_a_filter_that_there_is_not_is_told(tmp_path):
    found = says(tmp_path, {**TF, "pretrained_cfg": {**HALF, "input_size": [3, 48, 48], "interpolation": "lanczos"}})
    assert found.transforms == ("resize(54)", "center_crop(48)") and found.pictures == "48 pixels, lanczos"
