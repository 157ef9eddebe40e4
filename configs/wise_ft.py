"""A classifier of class names, fine-tuned, and the point between before and after: WiSE-FT, 224 pixels.

    jaxcls zeroshot --config=wise_ft CLIP.safetensors --data=PATH \
        --vocab=bpe_simple_vocab_16e6.txt.gz --out=runs/zeroshot
    jaxcls train --from=runs/zeroshot --workdir=runs/tuned
    jaxcls average runs/zeroshot runs/tuned --alpha 0.5 --out runs/wise

Wortsman et al. 2022 (arXiv 2109.01903): all of the tower is trained at a small rate, which gains on pictures like
these and loses on others; weights in between keep much of both. Rate, decay, batch and clipping follow the paper's
fine-tuning of ImageNet. Not run by us: there are no such weights here. `configs/zeroshot.py` is for fewer pictures.
"""

from jaxcls.defaults import default_config, parse_tiny

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def get_config(arg=""):
    """`:tiny` is of a tower of two blocks for pictures of 32 pixels."""
    tiny = parse_tiny(arg)
    size = 32 if tiny else 224
    config = default_config()
    config.duration = "4 steps" if tiny else "10 epochs"
    config.batch_size = 16 if tiny else 512
    config.data.name = "folder/pictures"
    config.data.augment = (f"random_resized_crop({size}, scale=(0.9, 1.0))",)
    config.data.eval_transform = (f"resize({size})", f"center_crop({size})")
    config.data.mean, config.data.std = MEAN, STD
    config.model.name = "vit_tiny_patch16_224" if tiny else ""  # that of the weights
    if tiny:
        config.model.fields = {"patch": 8, "width": 64, "depth": 2, "heads": 2, "pre_norm": True, "epsilon": 1e-5}
    config.optim.name = "adamw"
    config.optim.weight_decay = 0.1
    config.optim.clip_norm = 1.0
    config.schedule.peak = 3e-5
    config.schedule.warmup = "" if tiny else "5%"
    return config
