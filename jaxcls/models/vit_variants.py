"""Vision transformers whose weights are used as features, under timm's names: DINOv2, CLIP's image towers and SigLIP.

Their sources: models/vit.py. `quickgelu` names are of weights that were trained with that activation; the same tensors
under the other name answer otherwise.
"""

from jaxcls.models.vit import register_size

for _size in ("small", "base", "large"):
    register_size(f"vit_{_size}_patch14_dinov2", _size, 14, layer_scale=1e-5)
    register_size(f"vit_{_size}_patch14_reg4_dinov2", _size, 14, layer_scale=1e-5, registers=4, embed_prefix=False)
for _size, _patch in (("base", 32), ("base", 16), ("large", 14)):
    _fields = {"pre_norm": True, "epsilon": 1e-5}
    register_size(f"vit_{_size}_patch{_patch}_clip_224", _size, _patch, **_fields)
    register_size(f"vit_{_size}_patch{_patch}_clip_quickgelu_224", _size, _patch, activation="quick_gelu", **_fields)
register_size("vit_base_patch16_siglip_224", "base", 16, class_token=False, pool="map")
