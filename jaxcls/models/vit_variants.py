"""Vision transformers whose weights are used as features, under timm's names: DINOv2, CLIP's image towers and SigLIP.

Their sources: models/vit.py. `quickgelu` names are of weights that were trained with that activation; the same tensors
under the other name answer otherwise.
"""

from functools import partial

from jaxcls.models.registry import register
from jaxcls.models.vit import SIZES, ViT


def _register(name, size, patch, **fields):
    width, depth, heads = SIZES[size]
    register(partial(ViT, patch=patch, width=width, depth=depth, heads=heads, **fields), name)


for _size in ("small", "base", "large"):
    _register(f"vit_{_size}_patch14_dinov2", _size, 14, layer_scale=1e-5)
    _register(f"vit_{_size}_patch14_reg4_dinov2", _size, 14, layer_scale=1e-5, registers=4, embed_prefix=False)
for _size, _patch in (("base", 32), ("base", 16), ("large", 14)):
    _fields = {"pre_norm": True, "epsilon": 1e-5}
    _register(f"vit_{_size}_patch{_patch}_clip_224", _size, _patch, **_fields)
    _register(f"vit_{_size}_patch{_patch}_clip_quickgelu_224", _size, _patch, activation="quick_gelu", **_fields)
_register("vit_base_patch16_siglip_224", "base", 16, class_token=False, pool="map")
