"""Files of those who trained DINOv2, DINOv3 and CLIP, whose names and forms are not timm's.

timm publishes the same weights in its own form. These differ from it:

DINOv2 (github.com/facebookresearch/dinov2): registers are `register_tokens`, and with them the table of positions still
has a row for the class token, which is added to it once and for all; `mask_token` is of pretraining.
DINOv3 (github.com/facebookresearch/dinov3): registers are `storage_tokens`, scales `ls1.gamma`; queries, keys and
values have one bias, whose part for the keys a mask sets to zero; the periods of rotary positions are computed here.
CLIP (github.com/openai/CLIP, and open_clip): the tower of pictures is below `visual.`, beside that of texts; its last
projection is a linear layer without bias, transposed. Where open_clip takes a net of timm, that is `visual.trunk.`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from jaxcls.errors import UserError

PRETRAINING, COMPUTED, TEXT = "of pretraining alone", "computed by the model", "beside the tower of pictures"
NO_BIAS = "zeros, and the model has no bias there"
_WRAPPED = ("", "module.", "model.", "teacher.backbone.")
_CLIP = (
    (r"^conv1\.", "patch_embed.proj."),
    (r"^positional_embedding$", "pos_embed"),
    (r"^class_embedding$", "cls_token"),
    (r"^transformer\.resblocks\.", "blocks."),
    (r"^ln_pre\.", "norm_pre."),
    (r"^ln_post\.", "norm."),
    (r"\.ln_(?=[12]\.)", ".norm"),
    (r"\.attn\.in_proj_", ".attn.qkv."),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)


class Converted(NamedTuple):
    """Tensors under timm's names, in its form; key of the file -> why it is left out."""

    tensors: dict[str, np.ndarray]
    beside: dict[str, str]


def converted(tensors: Mapping[str, np.ndarray], ours: Iterable[str]) -> Converted | None:
    """What a file of one of these publishers holds, for a model with these names; None for any other file.

    Raises:
      UserError: for biases that the model has no place for.
    """
    for prefix in _WRAPPED:
        if f"{prefix}visual.class_embedding" in tensors:
            return _clip(tensors, f"{prefix}visual.")
        if any(key.startswith(f"{prefix}visual.trunk.") for key in tensors):
            return _trunk(tensors, f"{prefix}visual.")
        if f"{prefix}storage_tokens" in tensors:
            return _dinov3(tensors, prefix, any(name.endswith(".q_bias") for name in ours))
        if f"{prefix}mask_token" in tensors and f"{prefix}pos_embed" in tensors:
            return _dinov2(tensors, prefix)
    return None


def _below(tensors, prefix):
    """(the tensors below a prefix, without it; why the others are left out)."""
    inside = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    return inside, {key: PRETRAINING for key in tensors if not key.startswith(prefix)}


def _dinov2(file, prefix):
    found, beside = _below(file, prefix)
    beside["mask_token"] = PRETRAINING
    found = {key: value for key, value in found.items() if key != "mask_token"}
    if "register_tokens" in found:
        found["reg_token"] = found.pop("register_tokens")
        found["cls_token"] = found["cls_token"] + found["pos_embed"][:, :1]
        found["pos_embed"] = found["pos_embed"][:, 1:]
    return Converted(found, beside)


def _dinov3(file, prefix, biased):
    (found, beside), tensors = _below(file, prefix), {}
    for key, value in found.items():
        if key == "mask_token" or key.startswith("local_cls_norm."):
            beside[key] = PRETRAINING
        elif key.endswith((".bias_mask", ".periods")):
            beside[key] = COMPUTED
        elif key.endswith(".attn.qkv.bias"):
            q, _, v = np.split(np.asarray(value), 3)
            if biased:
                tensors |= {key.replace("qkv.bias", "q_bias"): q, key.replace("qkv.bias", "v_bias"): v}
            elif np.any(q) or np.any(v):
                raise UserError(f"{key} has biases of queries and values: take the model whose name ends in _qkvb")
            else:
                beside[key] = NO_BIAS
        else:
            name = re.sub(r"\.ls([12])\.gamma$", r".gamma_\1", key)
            tensors["reg_token" if name == "storage_tokens" else name] = value
    return Converted(tensors, beside)


def _clip(tensors, prefix):
    found, beside = {}, dict.fromkeys((key for key in tensors if not key.startswith(prefix)), TEXT)
    for key, value in tensors.items():
        if key in beside:
            continue
        name = key.removeprefix(prefix)
        for pattern, replacement in _CLIP:
            name = re.sub(pattern, replacement, name)
        if name == "proj":
            found |= {"head.weight": value.T, "head.bias": np.zeros(value.shape[1], value.dtype)}
        else:
            found[name] = value[None] if name == "pos_embed" else value
    return Converted(found, beside)


def _trunk(tensors, prefix):
    trunk = f"{prefix}trunk."
    found = {key.removeprefix(trunk): value for key, value in tensors.items() if key.startswith(trunk)}
    beside = dict.fromkeys((key for key in tensors if not key.startswith(trunk)), TEXT)
    projection = f"{prefix}head.proj.weight"
    if projection in beside:
        found["head.weight"] = tensors[projection]
        found["head.bias"] = np.zeros(len(tensors[projection]), tensors[projection].dtype)
        del beside[projection]
    return Converted(found, beside)
