"""ConvNeXt-T (28,589,128 parameters) on ImageNet-1k: 300 epochs at batch 4096.

    jaxcls prepare imagenet2012 --manual-dir=DIR
    jaxcls train --config=convnext_tiny_imagenet

Source: Liu et al. 2022 (arXiv 2201.03545), table 5: AdamW, RandAugment, MixUp or CutMix, erasing, stochastic depth 0.1,
averaged weights. Published: 82.1 %. Meant for 8 GPUs of 32 GiB, or one of 80 GiB with --config.accumulate=8. Not run
by us.

Where we differ: RandAugment is one operation a picture (theirs: two, each with probability 0.5, magnitudes scattered);
mixed pairs have a share each (theirs: one for the batch).
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains a narrow net with two blocks on synthetic pictures for 4 steps."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "4 steps" if tiny else "300 epochs"
    config.batch_size = 16 if tiny else 4096
    config.precision = "bfloat16"
    config.data.name = "synthetic/64x48x3x10" if tiny else "tfds/imagenet2012"
    config.data.validation = 0.0  # ImageNet's validation split plays the test set; nothing is selected on it
    crop = "random_resized_crop(32)" if tiny else "random_resized_crop(224, resample='bicubic')"
    config.data.augment = (
        crop, "flip", "rand_augment(1, 27)", "mixup(0.8) | cutmix(1.0)", "random_erasing(0.25, value='noise')",
    )  # fmt: skip
    config.data.eval_transform = ("resize(36)", "center_crop(32)") if tiny else ("resize(256)", "center_crop(224)")
    config.data.normalize = "imagenet"
    config.model.name = "convnext_tiny"
    narrow = {"depths": (1, 1), "widths": (8, 16)}
    config.model.fields = {"stochastic_depth": 0.1, **(narrow if tiny else {})}
    config.loss.label_smoothing = 0.1
    config.schedule.peak = 4e-3
    config.schedule.warmup = "1 step" if tiny else "20 epochs"
    config.schedule.final = 1e-6
    config.optim.name = "adamw"
    config.optim.weight_decay = 0.05
    config.ema_decay = 0.9999
    return config
