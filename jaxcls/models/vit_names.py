"""What torchvision and timm call the parts of a vision transformer, and how they initialise them."""

import re
from typing import Any, NamedTuple

from flax import linen as nn

from jaxcls.models.layers.init import torch_kernel

normal, zeros = nn.initializers.normal, nn.initializers.zeros


class Spelling(NamedTuple):
    """Names of modules and parameters; those below `block` are relative to it. Initialisers: (kernel, bias).

    A bias of None is PyTorch's default. `packed`: queries, keys and values are made by a module of PyTorch's
    MultiheadAttention, whose parameters have names of their own.
    """

    patches: str
    class_token: str
    dist_token: str
    position: str
    norm: str
    head: str
    dist_head: str
    block: str
    norm1: str
    qkv: str
    proj: str
    norm2: str
    fc1: str
    fc2: str
    scale1: str
    scale2: str
    packed: bool
    patches_init: tuple[Any, Any]
    token_init: Any
    qkv_init: tuple[Any, Any]
    proj_init: tuple[Any, Any]
    mlp_init: tuple[Any, Any]
    head_init: tuple[Any, Any]


TORCHVISION = Spelling(
    patches="conv_proj",
    class_token="class_token",
    dist_token="dist_token",  # torchvision has no distilled nets
    position="encoder.pos_embedding",
    norm="encoder.ln",
    head="heads.head",
    dist_head="heads.head_dist",
    block="encoder.layers.encoder_layer_{}",
    norm1="ln_1",
    qkv="self_attention",
    proj="self_attention.out_proj",
    norm2="ln_2",
    fc1="mlp.0",
    fc2="mlp.3",
    scale1="ls1.gamma",  # torchvision has no nets with these two
    scale2="ls2.gamma",
    packed=True,
    patches_init=(nn.initializers.variance_scaling(1.0, "fan_in", "normal"), zeros),
    token_init=zeros,
    qkv_init=(nn.initializers.xavier_uniform(in_axis=1, out_axis=0), zeros),
    proj_init=(torch_kernel, zeros),
    mlp_init=(nn.initializers.xavier_uniform(), normal(1e-6)),
    head_init=(zeros, zeros),
)

TIMM = Spelling(
    patches="patch_embed.proj",
    class_token="cls_token",
    dist_token="dist_token",
    position="pos_embed",
    norm="norm",
    head="head",
    dist_head="head_dist",
    block="blocks.{}",
    norm1="norm1",
    qkv="attn.qkv",
    proj="attn.proj",
    norm2="norm2",
    fc1="mlp.fc1",
    fc2="mlp.fc2",
    scale1="ls1.gamma",
    scale2="ls2.gamma",
    packed=False,
    patches_init=(torch_kernel, None),
    token_init=normal(1e-6),
    qkv_init=(normal(0.02), zeros),
    proj_init=(normal(0.02), zeros),
    mlp_init=(normal(0.02), zeros),
    head_init=(normal(0.02), zeros),
)

SPELLINGS = {"torchvision": TORCHVISION, "timm": TIMM}
_BEFORE_BLOCKS = ("patches", "class_token", "position", "norm", "head", "dist_head")
_IN_BLOCKS = ("norm1", "proj", "norm2", "fc1", "fc2")


def renames(theirs: Spelling, ours: Spelling) -> tuple[tuple[str, str], ...]:
    """The (pattern, replacement) pairs that turn the keys of one library into those of the other."""
    pairs = [(rf"^{re.escape(getattr(theirs, part))}(?=\.|$)", getattr(ours, part)) for part in _BEFORE_BLOCKS]
    block = re.escape(theirs.block).replace(r"\{\}", r"(\d+)")
    pairs.append((rf"^{block}\.", ours.block.replace("{}", r"\1") + "."))
    inside = rf"^({re.escape(ours.block).replace(re.escape('{}'), '[0-9]+')}\.)"
    ends = {True: ".in_proj_", False: "."}
    pairs.append((inside + re.escape(theirs.qkv + ends[theirs.packed]), rf"\1{ours.qkv}{ends[ours.packed]}"))
    pairs += [(rf"{inside}{re.escape(getattr(theirs, part))}\.", rf"\1{getattr(ours, part)}.") for part in _IN_BLOCKS]
    return tuple(pairs)
