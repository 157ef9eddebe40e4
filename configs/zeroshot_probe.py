"""A linear probe of a tower of pictures that starts from the names of the classes, 224 pixels.

    jaxcls zeroshot --config=zeroshot_probe CLIP.safetensors --data=PATH \
        --vocab=bpe_simple_vocab_16e6.txt.gz --out=runs/zeroshot
    jaxcls train --workdir=runs/zeroshot

The tower stays as it is and the last layer alone is trained, from the columns that the words gave it: little to
overfit, and no backward pass through the tower. Radford et al. 2021 (arXiv 2103.00020, section 3.2) fit theirs by
L-BFGS from nothing, which is `jaxcls probe runs/zeroshot`. Not run by us: there are no such weights here.
"""

from jaxcls.defaults import default_config, parse_tiny

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def get_config(arg=""):
    """`:tiny` is of a tower of two blocks for pictures of 32 pixels."""
    tiny = parse_tiny(arg)
    size = 32 if tiny else 224
    config = default_config()
    config.duration = "4 steps" if tiny else "20 epochs"
    config.batch_size = 16 if tiny else 256
    config.data.name = "folder/pictures"
    config.data.augment = (f"random_resized_crop({size}, scale=(0.9, 1.0))", "flip")
    config.data.eval_transform = (f"resize({size})", f"center_crop({size})")
    config.data.mean, config.data.std = MEAN, STD
    config.model.name = "vit_tiny_patch16_224" if tiny else ""  # that of the weights
    if tiny:
        config.model.fields = {"patch": 8, "width": 64, "depth": 2, "heads": 2, "pre_norm": True, "epsilon": 1e-5}
    config.optim.freeze = ("all",)
    config.optim.name = "adamw"
    config.optim.weight_decay = 0.01
    config.schedule.peak = 1e-3
    config.schedule.warmup = "" if tiny else "5%"
    return config
