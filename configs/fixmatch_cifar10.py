"""FixMatch on CIFAR-10 with 250 labels (or `:4000`): a WRN-28-2, 64 pictures with labels and 448 without in a step.

    jaxcls prepare cifar10
    jaxcls train --config=fixmatch_cifar10

Source: Sohn et al. 2020 (arXiv 2001.07685), section 4 and table 2: SGD with Nesterov momentum, 0.03 * cos(7/16 pi k /
K), weight decay 5e-4, an average of the weights with decay 0.999, 2^20 steps. Published, with RandAugment: 94.93 % with
250 labels, 95.74 % with 4,000. Theirs draws the magnitudes of RandAugment and counts the labelled pictures among those
without labels, too; ours has magnitude 10 of 30 and the rest of the pictures. Meant for one GPU: a step has 960 views,
all steps a thousand million. Not run by us; docs/few_labels.md says what was.
"""

from jaxcls.defaults import default_config
from jaxcls.errors import UserError


def get_config(arg=""):
    """`:tiny` trains a WRN-10-1 for 4 steps, `:4000` has 4,000 labels."""
    if arg not in ("", None, "tiny", "4000"):
        raise UserError(f"this config takes ':tiny', ':4000' or none, not ':{arg}'.")
    tiny = arg == "tiny"
    config = default_config()
    config.duration = "4 steps" if tiny else "1048576 steps"
    config.batch_size = 32 if tiny else 512
    config.data.name = "tfds/cifar10"
    config.data.validation = 0.0  # as in the paper: the average of the end is the result
    config.data.augment = ("flip", "crop(32, pad=4, mode='reflect')")
    config.data.augment_second = (*config.data.augment, "rand_augment(2, magnitude=10)", "cutout(16)")
    config.data.normalize = "cifar10"
    config.few.method = "fixmatch"
    config.few.labels = "20" if tiny else arg or "250"
    config.few.ratio = 3 if tiny else 7
    config.model.name = "wrn_28_10"
    config.model.fields = {"depth": 10, "widen": 1} if tiny else {"widen": 2}
    config.schedule.name, config.schedule.peak = "cosine_7_16", 0.03
    config.optim.nesterov = True
    config.optim.weight_decay = 5e-4
    config.ema_decay = 0.999
    config.eval.every = config.checkpoint.every = "4 steps" if tiny else "8192 steps"
    return config
