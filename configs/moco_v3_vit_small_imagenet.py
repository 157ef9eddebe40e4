"""MoCo v3 on ImageNet with a ViT-S: its patch projection stays as it was drawn, which keeps training stable.

    jaxcls prepare imagenet2012 --manual-dir=DIR   # the folder with the two archives
    jaxcls train --config=moco_v3_vit_small_imagenet
    jaxcls probe runs/moco_v3_vit_small_imagenet --protocol moco

The recipe of the authors' CONFIG.md (facebookresearch/moco-v3): AdamW 1.5e-4 for each 256 pictures, batch 4096, 300
epochs; there 73.2 % by a linear probe (ViT-B: 76.7 %). Their ViT-S has 12 heads and a fixed sine-cosine position
embedding, timm's, which this is, 6 and a learned one. Meant for 32 GPUs; not run by us.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains a ViT of two blocks on synthetic pictures for 4 steps."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "4 steps" if tiny else "300 epochs"
    config.batch_size = 16 if tiny else 4096
    config.precision = "bfloat16"
    config.data.name = "synthetic/64x48x3x10" if tiny else "tfds/imagenet2012"
    config.data.validation = 0.01  # of train, to watch the features; ImageNet's validation split is the test set
    size = 32 if tiny else 224
    config.data.augment = (
        f"random_resized_crop({size}, scale=(0.08, 1.0))",
        "flip",
        "color_jitter(0.4, 0.4, 0.2, 0.1, p=0.8)",
        "random_grey(0.2)",
        "gaussian_blur((0.1, 2.0), p=1.0)",
    )
    config.data.augment_second = (*config.data.augment[:-1], "gaussian_blur((0.1, 2.0), p=0.1)", "solarize(128, p=0.2)")
    config.data.eval_transform = (f"resize({size * 8 // 7})", f"center_crop({size})")
    config.data.normalize = "imagenet"
    config.model.name = "vit_tiny_patch16_224" if tiny else "vit_small_patch16_224"
    config.model.fields = {"depth": 2} if tiny else {}
    config.ssl.method = "moco_v3"
    config.ssl.projector = (32, 32, 16) if tiny else (4096, 4096, 256)
    config.ssl.predictor = (32, 16) if tiny else (4096, 256)
    config.ssl.predictor_norm = True
    config.ssl.temperature = 0.2
    config.ssl.momentum = 0.99
    config.ssl.momentum_schedule = "cosine"
    config.monitor.knn = "5, 0.1" if tiny else "lightly"
    config.monitor.pictures = 50_000
    config.optim.name = "adamw"
    config.optim.freeze = ("^patch_embed",)
    config.optim.weight_decay = 0.1
    config.schedule.peak = 1.5e-4
    config.schedule.per_batch = 256
    config.schedule.warmup = "1 step" if tiny else "40 epochs"
    config.eval.every = "10 epochs"
    config.checkpoint.every = "1 epoch"
    return config
