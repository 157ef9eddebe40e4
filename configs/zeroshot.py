"""A classifier of the names of its classes (`jaxcls zeroshot`), by CLIP, 224 pixels; and its training afterwards.

    jaxcls zeroshot --config=zeroshot CLIP.safetensors --data=PATH \
        --vocab=bpe_simple_vocab_16e6.txt.gz --out=runs/zeroshot
    jaxcls train --workdir=runs/zeroshot

Radford et al. 2021 (arXiv 2103.00020). The model is chosen by the weights; the config is what pictures go through, and
how they are learned from if the run is trained on: all of the tower at a small rate, as fine-tuning forgets quickly
(Wortsman et al. 2022, 2109.01903, whose average of before and after is `jaxcls average`). Published: 63.2 % of ImageNet
without training for ViT-B/32 (table 11 of the paper). Not run by us: there are no such weights here.
"""

from jaxcls.defaults import default_config, parse_tiny

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def get_config(arg=""):
    """`:tiny` is of a tower of two blocks for pictures of 32 pixels."""
    tiny = parse_tiny(arg)
    size = 32 if tiny else 224
    config = default_config()
    config.duration = "4 steps" if tiny else "10 epochs"
    config.batch_size = 16 if tiny else 64
    config.data.name = "folder/pictures"
    config.data.augment = (f"random_resized_crop({size}, scale=(0.5, 1.0))", "flip")
    config.data.eval_transform = (f"resize({size})", f"center_crop({size})")
    config.data.mean, config.data.std = MEAN, STD
    config.model.name = "vit_tiny_patch16_224" if tiny else ""  # that of the weights
    if tiny:
        config.model.fields = {"patch": 8, "width": 64, "depth": 2, "heads": 2, "pre_norm": True, "epsilon": 1e-5}
    config.optim.name = "adamw"
    config.optim.weight_decay = 0.1
    config.schedule.peak = 1e-5
    config.schedule.warmup = "" if tiny else "10%"
    return config
