"""ResNet-50 (25,557,032 parameters) on ImageNet-1k by the procedures A1, A2 and A3 of "ResNet strikes back".

    jaxcls prepare imagenet2012 --manual-dir=DIR
    jaxcls train --config=resnet50_strikes_back:a2

`:a3` (or no argument) takes 100 epochs at 160 pixels, `:a2` 300 and `:a1` 600 at 224. Source: Wightman, Touvron and
Jegou 2021 (arXiv 2110.00476), table 2: LAMB, a yes-or-no question for every class (BCE), mixed pictures, repeated
augmentation in A1 and A2. Published: 80.4, 79.8, 78.1 % at 224 pixels (another library's replays: 80.12, 79.55, 78.30).
Meant for 4 to 8 GPUs of 32 GiB, or one of 80 GiB with --config.accumulate=4; A1 took its authors 4.6 days on four V100.
Not run by us.

Where we differ: RandAugment is one operation a picture (theirs: two, each with probability 0.5, magnitudes scattered),
so the mean number is the same; mixed pairs have a share each (theirs: one for the batch); the batch of A1 and A2 is
2,064, a multiple of 3 and 16; a batch of repeats holds all copies of a picture (theirs: on different GPUs).
"""

from jaxcls.defaults import default_config
from jaxcls.errors import UserError

# epochs, peak rate, decay, stochastic depth, label smoothing, RandAugment's magnitude of 30, alpha of MixUp
PROCEDURES = {
    "a1": ("600 epochs", 5e-3, 0.01, 0.05, 0.1, 21, 0.2),
    "a2": ("300 epochs", 5e-3, 0.02, 0.05, 0.0, 21, 0.1),
    "a3": ("100 epochs", 8e-3, 0.02, 0.0, 0.0, 18, 0.1),
}


def get_config(arg=""):
    """`:a1`, `:a2`, `:a3`; `:tiny` trains a narrow ResNet of two blocks by A2 for 4 steps on synthetic pictures."""
    if arg not in ("", "tiny", *PROCEDURES):
        raise UserError(f"this config takes ':a1', ':a2', ':a3', ':tiny' or none, not ':{arg}'.")
    tiny, long = arg == "tiny", arg in ("a1", "a2", "tiny")
    epochs, peak, decay, depth, smoothing, magnitude, alpha = PROCEDURES[{"": "a3", "tiny": "a2"}.get(arg, arg)]
    config = default_config()
    config.duration = "4 steps" if tiny else epochs
    config.batch_size = 24 if tiny else 2064 if long else 2048
    config.precision = "bfloat16"
    config.data.name = "synthetic/64x48x3x10" if tiny else "tfds/imagenet2012"
    config.data.validation = 0.0  # ImageNet's validation split plays the test set; nothing is selected on it
    size = 32 if tiny else 224 if long else 160
    crop = f"random_resized_crop({size})" if tiny else f"random_resized_crop({size}, resample='bicubic')"
    config.data.augment = (crop, "flip", f"rand_augment(1, {magnitude})", f"mixup({alpha}) | cutmix(1.0)")
    config.data.repeats = 3 if long else 1
    config.data.eval_transform = ("resize(36)", "center_crop(32)") if tiny else ("resize(236)", "center_crop(224)")
    config.data.normalize = "imagenet"
    config.model.name = "resnet18" if tiny else "resnet50"
    narrow = {"width": 8, "stage_sizes": (1, 1)}
    config.model.fields = {"zero_init_residual": True, "stochastic_depth": depth, **(narrow if tiny else {})}
    config.loss.name = "binary_cross_entropy"
    config.loss.label_smoothing = smoothing
    config.loss.threshold = 0.2
    config.schedule.peak = peak
    config.schedule.warmup = "1 step" if tiny else "5 epochs"
    config.schedule.final = 1e-6
    config.optim.name = "lamb"
    config.optim.weight_decay = decay
    config.parallel.batch_norm = "local"  # of a GPU, as there
    return config
