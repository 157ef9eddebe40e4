"""Weights of two towers, pictures and texts, as three libraries name them: open_clip (OpenAI's files alike, state dicts
and the TorchScript archives that its package downloads), Hugging Face's transformers, and open_clip's wrappers of a
tower of timm's.

The pictures' tower gets the names of timm, the texts' those of open_clip, as models/vit_variants.py and
models/text_tower.py have them.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxcls.errors import UserError

Tensors = Mapping[str, np.ndarray]
_IN_BLOCKS = {  # open_clip's and Hugging Face's names within a block -> timm's
    "ln_1": "norm1", "layer_norm1": "norm1", "attn.in_proj_": "attn.qkv.", "self_attn.in_proj_": "attn.qkv.",
    "attn.out_proj": "attn.proj", "self_attn.out_proj": "attn.proj", "ln_2": "norm2", "layer_norm2": "norm2",
    "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
}  # fmt: skip
_TEXT_IN_BLOCKS = {
    "layer_norm1": "ln_1", "self_attn.in_proj": "attn.in_proj", "self_attn.out_proj": "attn.out_proj",
    "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
}  # fmt: skip
_IMAGE = {  # of the names outside of blocks
    "class_embedding": "cls_token", "positional_embedding": "pos_embed", "conv1.": "patch_embed.proj.",
    "ln_pre.": "norm_pre.", "ln_post.": "norm.", "embeddings.class_embedding": "cls_token",
    "embeddings.patch_embedding.": "patch_embed.proj.", "embeddings.position_embedding.weight": "pos_embed",
    "pre_layrnorm.": "norm_pre.", "post_layernorm.": "norm.", "head.probe": "attn_pool.latent",
    "head.attention.out_proj.": "attn_pool.proj.", "head.layernorm.": "attn_pool.norm.", "head.mlp.": "attn_pool.mlp.",
}  # fmt: skip
_TEXT = {
    "embeddings.token_embedding.": "token_embedding.",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.": "ln_final.",
    "head.": "text_projection.",  # of Hugging Face's SigLIP
}
_THREE = re.compile(r"(.*self_attn\.)q_proj\.(weight|bias)$")


class Towers(NamedTuple):
    """A pair of towers.

    Attributes:
      image, text: name -> array of each.
      scale: what cosines are multiplied by (the exponential of `logit_scale`).
      bias: what is added then; 0 for CLIP's.
    """

    image: dict[str, np.ndarray]
    text: dict[str, np.ndarray]
    scale: float
    bias: float


def split(tensors: Tensors) -> Towers:
    """The towers of a file.

    Raises:
      UserError: for a file without two towers.
    """
    if "logit_scale" not in tensors:
        raise UserError(
            "these weights have no logit_scale, so they are no pair of towers for pictures and texts; take those of "
            "open_clip, of OpenAI's CLIP, or of CLIP or SigLIP on Hugging Face"
        )
    scale = float(np.exp(np.float64(np.asarray(tensors["logit_scale"]).reshape(()))))
    bias = float(np.asarray(tensors.get("logit_bias", 0.0)).reshape(()))
    transformers = any(name.startswith("vision_model.") for name in tensors)
    image, text = _of_transformers(tensors) if transformers else _of_open_clip(tensors)
    if not image or not text:
        raise UserError(f"these weights have no tower of {'texts' if image else 'pictures'}")
    return Towers(image, text, scale, bias)


def _of_open_clip(tensors):
    trunk = {k.removeprefix("visual.trunk."): v for k, v in tensors.items() if k.startswith("visual.trunk.")}
    visual = {k.removeprefix("visual."): v for k, v in tensors.items() if k.startswith("visual.")}
    inside = any(name.startswith("text.") for name in tensors)
    text = {
        key.removeprefix("text."): value
        for key, value in tensors.items()
        if (key.startswith("text.") if inside else not key.startswith("visual."))
        and key not in ("logit_scale", "logit_bias", *_SIZES)
        and not key.endswith("attn_mask")
    }
    return (dict(trunk) if trunk else _image(visual)), _text(text)


_SIZES = ("input_resolution", "context_length", "vocab_size")  # numbers in OpenAI's files


def _of_transformers(tensors):
    together = _joined(tensors)
    parts = [
        {k.removeprefix(start): v for k, v in together.items() if k.startswith(start)}
        for start in ("vision_model.", "text_model.")
    ]
    for part, key, name in ((parts[0], "visual_projection.weight", "head.weight"),
                            (parts[1], "text_projection.weight", "text_projection.weight")):  # fmt: skip
        if key in together:
            part[name] = together[key]
    return _image(parts[0]), _text(parts[1])


def _joined(tensors):
    """Queries, keys and values of Hugging Face as one tensor each, `in_proj_weight` and `in_proj_bias`."""
    out = dict(tensors)
    for name in tensors:
        if found := _THREE.match(name):
            keys = [f"{found[1]}{part}_proj.{found[2]}" for part in "qkv"]
            if missing := [key for key in keys if key not in tensors]:
                raise UserError(f"these weights are not whole: {missing[0]} is missing")
            out[f"{found[1]}in_proj_{found[2]}"] = np.concatenate([np.asarray(out.pop(key)) for key in keys])
    return out


def _image(tensors):
    out = {}
    for key, value in tensors.items():
        if key.endswith("position_ids"):
            continue
        name = _renamed(key, r"(transformer\.resblocks|encoder\.layers)", "blocks", _IN_BLOCKS, _IMAGE)
        if name == "proj":  # [width, features], without a bias
            name, value = "head.weight", np.asarray(value).T
        if name == "cls_token":
            value = np.asarray(value).reshape(1, 1, -1)
        if name == "pos_embed" and np.ndim(value) == 2:
            value = np.asarray(value)[None]
        if found := re.match(r"head\.attention\.in_proj_(\w+)$", name):  # the query's third is a layer of its own
            third = len(value) // 3
            out[f"attn_pool.q.{found[1]}"], out[f"attn_pool.kv.{found[1]}"] = value[:third], value[third:]
            continue
        out[name] = value
    if "head.weight" in out:  # timm's layer has a bias, and these projections none
        out["head.bias"] = np.zeros(len(out["head.weight"]), np.float32)
    return out


def _text(tensors):
    out = {}
    for key, value in tensors.items():
        if key.endswith("position_ids"):
            continue
        blocks = r"(transformer\.resblocks|encoder\.layers)"
        name = _renamed(key, blocks, "transformer.resblocks", _TEXT_IN_BLOCKS, _TEXT)
        if name == "text_projection":  # [width, features]
            name, value = "text_projection.weight", np.asarray(value).T
        out[name] = value
    return out


def _renamed(key, blocks, ours, inside, outside):
    if found := re.match(rf"{blocks}\.(\d+)\.(.+)$", key):
        rest = found[3]
        for old, new in inside.items():
            if rest.startswith(old):
                rest = new + rest.removeprefix(old)
                break
        return f"{ours}.{found[2]}.{rest}"
    for old, new in outside.items():
        if key == old or (old.endswith(".") and key.startswith(old)):
            return new + key.removeprefix(old)
    return key
