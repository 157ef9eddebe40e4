"""DeiT-S, a ViT-S/16 (22,050,664 parameters) on ImageNet-1k alone: 300 epochs at batch 1008.

    jaxcls prepare imagenet2012 --manual-dir=DIR
    jaxcls train --config=deit_small_imagenet

Source: Touvron et al. 2020 (arXiv 2012.12877), table 9: AdamW, RandAugment, MixUp or CutMix, erasing, repeated
augmentation, stochastic depth. Published: 79.9 %. With a teacher as well: `--config.model.name=
deit_small_distilled_patch16_224 --config.distill.mode=hard --config.distill.teacher=FILE --config.distill.model=NAME`,
published with 81.2 %. Meant for 4 GPUs of 16 GiB, or one of 80 GiB. Not run by us.

Where we differ: RandAugment is one operation a picture (theirs: two, each with probability 0.5, magnitudes scattered);
mixed pairs have a share each (theirs: one for the batch); the batch is 1,008, a multiple of 3 and 16, and holds all
copies of a picture.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains two narrow blocks on synthetic pictures for 4 steps."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "4 steps" if tiny else "300 epochs"
    config.batch_size = 24 if tiny else 1008
    config.precision = "bfloat16"
    config.data.name = "synthetic/64x48x3x10" if tiny else "tfds/imagenet2012"
    config.data.validation = 0.0  # ImageNet's validation split plays the test set; nothing is selected on it
    crop = "random_resized_crop(32)" if tiny else "random_resized_crop(224, resample='bicubic')"
    config.data.augment = (
        crop, "flip", "rand_augment(1, 27)", "mixup(0.8) | cutmix(1.0)", "random_erasing(0.25, value='noise')",
    )  # fmt: skip
    config.data.repeats = 3
    config.data.eval_transform = ("resize(36)", "center_crop(32)") if tiny else ("resize(256)", "center_crop(224)")
    config.data.normalize = "imagenet"
    config.model.name = "deit_small_patch16_224"
    config.model.fields = {"stochastic_depth": 0.1, **({"width": 16, "depth": 2, "heads": 2} if tiny else {})}
    config.loss.label_smoothing = 0.1
    config.schedule.peak = 5e-4  # for 512 pictures
    config.schedule.per_batch = 512
    config.schedule.warmup = "1 step" if tiny else "5 epochs"
    config.schedule.final = 1e-5
    config.optim.name = "adamw"
    config.optim.weight_decay = 0.05
    return config
