"""What timm's mobile nets have beside torchvision's; their outputs: test_references."""

import jax
import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import pretrained, timm_blocks


def test_rows_in_timms_notation():
    assert timm_blocks.parse("ir_r2_k5_s2_e4.5_c24_se0.25_nre") == ("ir", 2, 5, 2, 4.5, 24, 0.25, 0, True, False)
    assert timm_blocks.parse("uir_r4_a5_k0_s1_e2_c96") == ("uir", 4, 0, 1, 2.0, 96, 0.0, 5, False, False)


@pytest.mark.parametrize(
    "row", ["", "xx_c8", "ir_r2", "ir_c8_s3", "ir_c8_q3", "ir_c8_r0", "uir_a0_k0_s2_c8", "ir_k0_c8", "ir_c8.5", 3]
)
def test_other_rows_are_refused(row):
    with pytest.raises(UserError, match="rows: .* is no row of blocks"):
        models.create("mobilenetv2_100", rows=((row,),))


@pytest.mark.parametrize(
    "fields, message",
    [({"tail": "x"}, "tail must be one of map, mean"), ({"act": "elu"}, "act must be one of relu"),
     ({"squeeze": "x"}, "squeeze must be one of input"), ({"padding": "tf"}, "padding must be one of torch, same"),
     ({"width_mult": 0}, "width_mult must be positive"), ({"first": 0}, "first must be positive")],
)  # fmt: skip
def test_what_cannot_be_built_says_what_could(fields, message):
    with pytest.raises(UserError, match=message):
        models.create("tf_efficientnet_b0", **fields)


def test_out_has_a_map_for_each_resolution(shapes):
    assert shapes(models.create("tf_mobilenetv3_small_100", num_classes=7), 97, 64, 3) == {
        "stem": (49, 32, 16), "stage1": (25, 16, 16), "stage2": (13, 8, 24), "stage3": (7, 4, 48),
        "stage4": (4, 2, 576), "pre_logits": (1024,), "logits": (7,)}  # fmt: skip
    found = shapes(models.create("mobilenetv4_conv_medium", num_classes=0), 64, 64, 3)
    assert found["stage4"] == (2, 2, 960) and found["logits"] == found["pre_logits"] == (960,)


@pytest.mark.parametrize("ours, torchvisions, fields", [
    ("tf_efficientnet_b1", "efficientnet_b1", {}),
    ("mobilenetv2_140", "mobilenet_v2", {"width_mult": 1.4}),
    ("tf_mobilenetv3_large_100", "mobilenet_v3_large", {}),
    ("tf_efficientnetv2_s", "efficientnet_v2_s", {}),
])  # fmt: skip
def test_they_hold_the_tensors_of_torchvisions_nets(ours, torchvisions, fields, abstract):
    """One for one, by the rules that read timm's names there."""
    variables = abstract(models.create(ours), 32, 32, 3)
    state = pretrained.to_state_dict(jax.tree.map(lambda x: np.broadcast_to(np.float32(0), x.shape), variables))
    other = models.create(torchvisions, **fields)
    _, report = pretrained.match(other, abstract(other, 32, 32, 3), state)
    assert len(report.loaded) == len(state) and not report.kept and not report.skipped


def test_without_classes_weights_of_the_hidden_layer_are_left_out(abstract):
    whole, model = (models.create("mobilenetv4_conv_small", num_classes=n) for n in (5, 0))
    state = pretrained.to_state_dict(
        jax.tree.map(lambda x: np.broadcast_to(np.float32(0), x.shape), abstract(whole, 32, 32, 3))
    )
    _, report = pretrained.match(model, abstract(model, 32, 32, 3), state)
    assert {key.partition(".")[0] for key in report.skipped} == {"conv_head", "norm_head", "classifier"}
