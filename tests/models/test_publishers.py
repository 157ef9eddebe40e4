"""Files of DINOv2, DINOv3 and CLIP as their authors name things: made of our weights, they give our answers back."""

import jax
import numpy as np
import pytest
from draws import draw

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import pretrained, publishers
from jaxcls.models.state_dict import to_state_dict
from jaxcls.training.from_weights import model_named

SMALL = {"width": 48, "depth": 2, "heads": 3, "num_classes": 7}
IMAGE = np.random.default_rng(0).normal(size=(2, 56, 56, 3)).astype(np.float32)


def drawn(name, **fields):
    """(model, its variables, their state dict) of a small net of this kind."""
    model = models.create(name, **{**SMALL, **fields})
    variables = draw(jax.eval_shape(model.init, jax.random.key(0), IMAGE))
    return model, variables, to_state_dict(variables)


def dinov2(state):
    """As facebookresearch/dinov2 saves it: without a classifier, the class token's position apart."""
    found = {key: value for key, value in state.items() if not key.startswith("head.")}
    found["mask_token"] = np.ones((1, 48), np.float32)
    if "reg_token" in found:
        found["register_tokens"] = found.pop("reg_token")
        first = np.full((1, 1, 48), 0.25, np.float32)
        found["pos_embed"] = np.concatenate([first, found["pos_embed"]], axis=1)
        found["cls_token"] = found["cls_token"] - first
    return found


def dinov3(state):
    """As facebookresearch/dinov3 saves it: one bias of queries, keys and values, and a mask for it."""
    found = {"mask_token": np.ones((1, 48), np.float32), "rope_embed.periods": np.ones(4, np.float32)}
    for key, value in state.items():
        name = key.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")
        if name.endswith(".q_bias"):
            others = np.full(48, 9, np.float32), state[key.replace("q_bias", "v_bias")]
            found[name.replace("q_bias", "qkv.bias")] = np.concatenate([value, *others])
            found[name.replace("q_bias", "qkv.bias_mask")] = np.repeat([1, 0, 1], 48).astype(np.float32)
        elif not name.endswith(".v_bias") and not name.startswith("head."):
            found["storage_tokens" if name == "reg_token" else name] = value
    return found


def clip(state):
    """As openai/CLIP and open_clip save it, with a tower of texts."""
    swaps = [
        ("patch_embed.proj.", "conv1."), ("pos_embed", "positional_embedding"), ("cls_token", "class_embedding"),
        ("norm_pre.", "ln_pre."), (".norm1.", ".ln_1."), (".norm2.", ".ln_2."), (".attn.qkv.", ".attn.in_proj_"),
        (".attn.proj.", ".attn.out_proj."), (".mlp.fc1.", ".mlp.c_fc."), (".mlp.fc2.", ".mlp.c_proj."),
        ("blocks.", "transformer.resblocks."),
    ]  # fmt: skip
    found = {"logit_scale": np.float32(4.6), "positional_embedding": np.ones((77, 8), np.float32)}
    found |= {"transformer.resblocks.0.ln_1.weight": np.ones(8, np.float32)}
    for key, value in state.items():
        name = key.replace("norm.", "ln_post.") if key.startswith("norm.") else key
        for old, new in swaps:
            name = name.replace(old, new)
        if key == "head.weight":
            found["visual.proj"] = value.T
        elif key != "head.bias":
            found[f"visual.{name}"] = value.squeeze()
    return found


KINDS = [
    ("vit_small_patch14_dinov2", dinov2, {"mask_token"}),
    ("vit_small_patch14_reg4_dinov2", dinov2, {"mask_token"}),
    ("vit_small_patch16_dinov3_qkvb", dinov3, {"mask_token", "rope_embed.periods"}),
    ("vit_base_patch32_clip_quickgelu_224", clip, {"logit_scale", "positional_embedding"}),
]


@pytest.mark.parametrize("name, theirs, beside", KINDS, ids=[name for name, *_ in KINDS])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_such_a_file_gives_the_weights_that_it_was_made_of(name, theirs, beside, prefix):
    model, variables, state = drawn(name, **({"patch": 14, "hidden": 64} if theirs is dinov3 else {"patch": 14}))
    if theirs is clip:
        state["head.bias"] = variables["params"]["head"]["bias"] = np.zeros(7, np.float32)
    file = {prefix + key: value for key, value in theirs(state).items()}
    blank = jax.eval_shape(lambda: variables)
    weights, report = pretrained.match(model, blank, file)
    new = to_state_dict(weights)
    lost = {key for key in state if key.startswith("head.")} if theirs is not clip else set()
    assert new.keys() == state.keys() - lost == {*report.loaded} and report.kept.keys() == lost
    for key, value in new.items():
        np.testing.assert_allclose(value, state[key], rtol=1e-6, atol=1e-7)
    assert beside <= {key.removeprefix(prefix) for key in report.skipped}
    assert report.names == "another library's" and str(report)


def test_a_tower_of_timm_in_a_file_of_open_clip():
    """As SigLIP of open_clip: `visual.trunk.` has timm's names, and the last projection may lie beside it."""
    model, variables, state = drawn("vit_base_patch16_siglip_224", patch=14)
    file = {f"visual.trunk.{key}": value for key, value in state.items() if not key.startswith("head.")}
    file |= {"visual.head.proj.weight": state["head.weight"], "text.ln_final.bias": np.ones(3, np.float32)}
    weights, report = pretrained.match(model, jax.eval_shape(lambda: variables), file)
    assert {*report.loaded} == state.keys() and report.skipped == {"text.ln_final.bias": publishers.TEXT}
    np.testing.assert_array_equal(to_state_dict(weights)["head.weight"], state["head.weight"])


def test_the_table_of_positions_of_other_pictures_is_resized():
    model, variables, state = drawn("vit_small_patch14_reg4_dinov2")
    file = dinov2({**state, "pos_embed": np.ones((1, 64, 48), np.float32)})
    weights, report = pretrained.match(model, jax.eval_shape(lambda: variables), file)
    np.testing.assert_allclose(to_state_dict(weights)["pos_embed"], np.ones((1, 16, 48)), rtol=1e-5)
    assert report.resized["pos_embed"]["from"] == [1, 64, 48]


def test_biases_without_a_place_are_refused_and_zeros_left_out():
    fields = {"patch": 14, "hidden": 64}
    model, variables, state = drawn("vit_small_patch16_dinov3", **fields)
    _, _, biased = drawn("vit_small_patch16_dinov3_qkvb", **fields)
    blank, file = jax.eval_shape(lambda: variables), dinov3(biased)
    with pytest.raises(UserError, match=r"blocks.0.attn.qkv.bias has biases .* whose name ends in _qkvb") as caught:
        pretrained.match(model, blank, file)
    assert "\n" not in str(caught.value)
    zeros = {key: value * 0 if key.endswith("qkv.bias") else value for key, value in file.items()}
    _, report = pretrained.match(model, blank, zeros)
    assert report.skipped["blocks.1.attn.qkv.bias"] == publishers.NO_BIAS
    assert {*report.loaded} == {key for key in state if not key.startswith("head.")}


def test_another_net_is_refused_in_one_line():
    _, _, state = drawn("vit_small_patch14_reg4_dinov2")
    model, variables, _ = drawn("vit_small_patch14_dinov2")
    with pytest.raises(UserError, match="these weights are not this model's.* 1 unexpected: reg_token") as caught:
        pretrained.match(model, jax.eval_shape(lambda: variables), dinov2(state))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "file, name",
    [
        ("dinov2_vits14_pretrain.pth", "vit_small_patch14_dinov2"),
        ("dinov2_vitl14_reg4_pretrain.pth", "vit_large_patch14_reg4_dinov2"),
        ("dinov3_vits16_pretrain_lvd1689m-08c60483.pth", "vit_small_patch16_dinov3_qkvb"),
        ("dinov3_vitb16_pretrain_lvd1689m-73cec8be.pth", "vit_base_patch16_dinov3"),
        ("dinov2_vitg14_pretrain.pth", ""),
    ],
)
def test_the_model_by_the_name_of_the_file(file, name):
    assert model_named(file) == name and (not name or name in models.list_models())
