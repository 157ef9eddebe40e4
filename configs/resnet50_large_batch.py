"""ResNet-50 (25,557,032 parameters) on ImageNet-1k with batches of 8,192 to 32,768, by LARS or LAMB.

    jaxcls train --config=resnet50_large_batch              # LARS, 8,192
    jaxcls train --config=resnet50_large_batch:lamb_32k

`:lars_8k` (or no argument), `:lars_16k`, `:lars_32k`, `:lamb_8k`, `:lamb_16k`, `:lamb_32k`. Sources: LARS (You, Gitman
and Ginsburg 2017, arXiv 1708.03888) with the rates, warm-ups and the quadratic decay of Google's TPU code, where its
authors report 76.3 % at 32,768; LAMB (You et al. 2019, arXiv 1904.00962): the rate grows with the square root of the
batch, 0.04 at 32,768, the warm-up in proportion to it, 20 epochs there, and nothing else changes from batch to batch.
Meant for 32 or more accelerators of 16 GiB (--config.accumulate for fewer). Not run by us.

Where we differ: LAMB's weight decay (0.02, of "ResNet strikes back") is our choice; statistics of BatchNorm are
those of a device's share in both.
"""

from jaxcls.defaults import default_config
from jaxcls.errors import UserError

# batch -> peak rate, epochs of warm-up
LARS = {"8k": (8192, 10.0, 5), "16k": (16_384, 25.0, 5), "32k": (32_768, 32.0, 14)}
LAMB = {"8k": (8192, 0.04, 5), "16k": (16_384, 0.04, 10), "32k": (32_768, 0.04, 20)}  # the peak is that of 32,768
ARGUMENTS = {f"{name}_{batch}": (name, batch) for name in ("lars", "lamb") for batch in LARS}


def get_config(arg=""):
    """`:lars_8k` to `:lamb_32k`; `:tiny` trains a narrow ResNet of two blocks for 4 steps on synthetic pictures."""
    if arg not in ("", "tiny", *ARGUMENTS):
        raise UserError(
            f"this config takes {', '.join(f':{name}' for name in ARGUMENTS)}, ':tiny' or none, not ':{arg}'."
        )
    tiny = arg == "tiny"
    name, size = ARGUMENTS[arg if arg in ARGUMENTS else "lars_8k"]
    batch, peak, warmup = (LARS if name == "lars" else LAMB)[size]
    config = default_config()
    config.duration = "4 steps" if tiny else "90 epochs"
    config.batch_size = 16 if tiny else batch
    config.precision = "bfloat16"
    config.data.name = "synthetic/64x48x3x10" if tiny else "tfds/imagenet2012"
    config.data.validation = 0.0  # ImageNet's validation split plays the test set; nothing is selected on it
    side = 32 if tiny else 224
    config.data.augment = (f"random_resized_crop({side})", "flip")
    config.data.eval_transform = (f"resize({side * 8 // 7})", f"center_crop({side})")
    config.data.normalize = "imagenet"
    config.model.name = "resnet18" if tiny else "resnet50"
    config.model.fields = {"zero_init_residual": True, **({"width": 8, "stage_sizes": (1, 1)} if tiny else {})}
    config.parallel.batch_norm = "local"
    config.loss.label_smoothing = 0.1
    config.optim.name = name
    config.optim.weight_decay = 1e-4 if name == "lars" else 0.02
    config.schedule.name = "polynomial" if name == "lars" else "linear"
    config.schedule.peak = peak
    config.schedule.warmup = "1 step" if tiny else f"{warmup} epochs"
    if name == "lamb":
        config.schedule.per_batch, config.schedule.batch_rule = 32_768, "sqrt"
    return config
