"""ResNet-50 (25,557,032 parameters) on ImageNet-1k by torchvision's new recipe: 600 epochs, trained at 176 pixels.

    jaxcls prepare imagenet2012 --manual-dir=DIR
    jaxcls train --config=resnet50_torchvision

Source: torchvision's issue #3995, the recipe of the weights IMAGENET1K_V2: TrivialAugment, MixUp or CutMix, erasing,
label smoothing, repeated augmentation, averaged weights. Published: 80.86 % at 224 pixels (76.13 % with the old one).
Meant for 8 GPUs of 16 GiB, or one of 80 GiB. Not run by us.

Where we differ: its average takes every 32nd step with a decay that depends on the number of epochs; `ema_decay` here
is the same per step. Mixed pairs have a share each (there: one for the batch).
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains a narrow ResNet of two blocks on synthetic pictures for 4 steps."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "4 steps" if tiny else "600 epochs"
    config.batch_size = 16 if tiny else 1024
    config.precision = "bfloat16"
    config.data.name = "synthetic/64x48x3x10" if tiny else "tfds/imagenet2012"
    config.data.validation = 0.0  # ImageNet's validation split plays the test set; nothing is selected on it
    config.data.augment = (
        f"random_resized_crop({32 if tiny else 176})", "flip", "trivial_augment_wide",
        "mixup(0.2) | cutmix(1.0)", "random_erasing(0.1)",
    )  # fmt: skip
    config.data.repeats = 4
    config.data.eval_transform = ("resize(36)", "center_crop(32)") if tiny else ("resize(232)", "center_crop(224)")
    config.data.normalize = "imagenet"
    config.model.name = "resnet18" if tiny else "resnet50"
    config.model.fields = {"width": 8, "stage_sizes": (1, 1)} if tiny else {}
    config.loss.label_smoothing = 0.1
    config.schedule.peak = 0.5
    config.schedule.warmup = "2 steps" if tiny else "5 epochs"
    config.schedule.warmup_start = 0.005
    config.optim.weight_decay = 2e-5
    config.optim.decay_mask = ("kernel$", "^fc/bias$")  # everything but the norms, as there
    config.ema_decay = 0.999966  # 1 - 2e-5 * 1024 / 600
    config.parallel.batch_norm = "local"  # of a GPU, as there
    return config
