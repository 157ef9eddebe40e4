"""What a config leaves to its weights: filled in once, from the table, a source, or the run that began."""

import json

import numpy as np
import pytest

from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.models import weight_files
from jaxcls.settings import config_file
from jaxcls.training import from_weights


def of(workdir=None, name="finetune", trains=True, **settings):
    """The resolved config with settings, dots as two underscores."""
    config = config_file.load(name)
    config_file.override(config, [(key.replace("__", "."), value) for key, value in settings.items()])
    return from_weights.resolved(config, workdir, trains=trains)


def test_a_name_says_model_fields_and_pictures():
    config = of(model__pretrained="tf_efficientnet_b3.ap_in1k")
    assert config.model.name == "efficientnet_b3" and config.model.fields.to_dict() == {
        "padding": "same",
        "epsilon": 1e-3,
    }
    assert config.data.normalize == "symmetric" and not config.data.mean
    assert config.data.eval_transform == ("resize(331, resample='bicubic')", "center_crop(300)")
    assert config.data.augment == ("random_resized_crop(300, scale=(0.25, 1.0))", "flip")
    squashed = of(model__pretrained="hf-hub:timm/convnext_tiny.in12k_ft_in1k_384")  # nothing is fetched for it
    assert (
        squashed.model.name == "convnext_tiny"
        and squashed.data.eval_transform[0] == "resize(384, 384, resample='bicubic')"
    )


def test_numbers_that_have_no_name():
    config = of(model__pretrained="vit_base_patch16_224.bamboo")
    assert config.data.normalize == "unit" and config.data.mean == (0.481455, 0.457827, 0.408211)
    assert config.data.std == (0.26863, 0.261303, 0.275777)


def test_what_the_config_says_stays():
    config = of(
        model__pretrained="tf_efficientnet_b0.in1k", model__name="efficientnet_b0", data__normalize="cifar10",
        model__fields__padding="torch", data__eval_transform="center_crop(64)", data__augment="center_crop(64)",
    )  # fmt: skip
    assert config.data.normalize == "cifar10" and config.data.eval_transform == ("center_crop(64)",)
    assert config.model.fields.to_dict() == {"padding": "torch", "epsilon": 1e-3} and config.data.augment == (
        "center_crop(64)",
    )
    given = of(model__pretrained="resnet50.a1_in1k", data__mean="(0.1, 0.2, 0.3)", data__std="(0.3, 0.2, 0.1)")
    assert given.data.normalize == "unit" and given.data.mean == (0.1, 0.2, 0.3)


def test_the_usual_weights_of_a_model():
    config = default_config()
    config.model.name, config.model.pretrained = "resnet50", True
    assert from_weights.resolved(config).model.pretrained == "resnet50.IMAGENET1K_V2"
    config.model.pretrained = False
    assert from_weights.resolved(config).model.pretrained == ""


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"model__pretrained": "resnet50.a1_in1k", "model__name": "resnet18"},
            "of resnet50, not of resnet18; use --con",
        ),
        (
            {"model__pretrained": "True"},
            "config.model.pretrained=True means the weights of config.model.name, which is n",
        ),
        ({}, "this config starts from published weights and none are named; add --config.model.pretrained=NAME"),
        (
            {"model__pretrained": ""},
            "config.model.name is empty and there are no weights to say it; add --config.model.",
        ),
    ],
)
def test_what_can_not_be(settings, message):
    with pytest.raises(UserError) as error:
        of(**settings)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_file_says_it_by_its_metadata_or_its_name(tmp_path):
    tensors = {"fc.weight": np.zeros((2, 2), np.float32)}
    told = {"model": "resnet18", "fields": '{"stem": "cifar"}', "normalize": '{"mean": [0.4], "std": [0.2]}',
            "eval_transform": '["resize(40)", "center_crop(32)"]'}  # fmt: skip
    weight_files.write(tmp_path / "mine.safetensors", tensors, told)
    config = of(model__pretrained=str(tmp_path / "mine.safetensors"))
    assert config.model.name == "resnet18" and config.model.fields.to_dict() == {"stem": "cifar"}
    assert config.data.mean == (0.4,) and config.data.augment[0] == "random_resized_crop(32, scale=(0.25, 1.0))"
    weight_files.write(tmp_path / "squeezenet1_1-b8a52dc0.pth", tensors, {})
    named = of(model__pretrained=str(tmp_path / "squeezenet1_1-b8a52dc0.pth"))
    assert named.model.name == "squeezenet1_1" and named.data.normalize == "imagenet"
    assert named.data.eval_transform == ("resize(256)", "center_crop(224)")
    weight_files.write(tmp_path / "weights.pth", tensors, {})
    with pytest.raises(UserError, match="does not say of which net it is; add --config.model.name=NAME"):
        of(model__pretrained=str(tmp_path / "weights.pth"))


def test_a_run_that_began_needs_its_weights_no_more(tmp_path):
    weight_files.write(tmp_path / "resnet18.pth", {"fc.weight": np.zeros((2, 2), np.float32)}, {})
    source = str(tmp_path / "resnet18.pth")
    first = of(model__pretrained=source)
    (tmp_path / "config.json").write_text(json.dumps(first.to_dict()))
    (tmp_path / "resnet18.pth").unlink()
    assert of(tmp_path, model__pretrained=source) == first
    with pytest.raises(UserError, match="there is no such file"):
        of(model__pretrained=source)


def test_pictures_are_shown_without_weights():
    config = of(trains=False)
    assert config.data.augment[0].startswith("random_resized_crop(224,") and config.data.normalize == "imagenet"
