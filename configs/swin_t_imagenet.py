"""Swin-T (28,288,354 parameters) on ImageNet-1k: 300 epochs at batch 1024.

    jaxcls prepare imagenet2012 --manual-dir=DIR
    jaxcls train --config=swin_t_imagenet

Source: Liu et al. 2021 (arXiv 2103.14030), appendix A2.1, and the authors' code (gradients clipped at 5). Published:
81.3 % (their weights: 81.4 %). Meant for 8 GPUs of 16 GiB, or one of 80 GiB with --config.accumulate=2. Not run by us.

Where we differ: RandAugment is one operation a picture (theirs: two, each with probability 0.5, magnitudes scattered);
mixed pairs have a share each (theirs: one for the batch).
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains a narrow net with two blocks on synthetic pictures for 4 steps."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "4 steps" if tiny else "300 epochs"
    config.batch_size = 16 if tiny else 1024
    config.precision = "bfloat16"
    config.data.name = "synthetic/64x48x3x10" if tiny else "tfds/imagenet2012"
    config.data.validation = 0.0  # ImageNet's validation split plays the test set; nothing is selected on it
    crop = "random_resized_crop(32)" if tiny else "random_resized_crop(224, resample='bicubic')"
    config.data.augment = (
        crop, "flip", "rand_augment(1, 27)", "mixup(0.8) | cutmix(1.0)", "random_erasing(0.25, value='noise')",
    )  # fmt: skip
    config.data.eval_transform = ("resize(36)", "center_crop(32)") if tiny else ("resize(256)", "center_crop(224)")
    config.data.normalize = "imagenet"
    config.model.name = "swin_t"
    narrow = {"width": 8, "depths": (1, 1), "heads": (1, 2), "window_size": 2}
    config.model.fields = {"stochastic_depth": 0.2, **(narrow if tiny else {})}
    config.loss.label_smoothing = 0.1
    config.schedule.peak = 5e-4  # for 512 pictures
    config.schedule.per_batch = 512
    config.schedule.warmup = "1 step" if tiny else "20 epochs"
    config.schedule.final = 1e-5
    config.optim.name = "adamw"
    config.optim.weight_decay = 0.05
    config.optim.clip_norm = 5.0
    return config
