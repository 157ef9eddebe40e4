"""WRN-28-10 (36,536,884 parameters) on CIFAR-100: crop with reflected borders and flip, SGD in steps, 200 epochs.

    jaxcls prepare cifar100
    jaxcls train --config=wrn_28_10_cifar100

Source: Zagoruyko and Komodakis 2016 (arXiv 1605.07146), section 3, and the authors' code. Published: 80.75 %, with
`--config.model.fields.block_dropout=0.3` 81.15 %. Meant for one GPU of 16 GiB. Not run by us.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains a WRN-10-1 for 4 steps."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "4 steps" if tiny else "200 epochs"
    config.batch_size = 32 if tiny else 128
    config.data.name = "tfds/cifar100"
    config.data.validation = 0.0  # as in the paper: trained on all 50,000, the last state is the result
    config.data.augment = ("crop(32, pad=4, mode='reflect')", "flip")
    config.data.normalize = "cifar100"
    config.model.name = "wrn_28_10"
    config.model.fields = {"depth": 10, "widen": 1} if tiny else {}
    config.schedule.name = "multi_step"
    config.schedule.peak = 0.1
    config.schedule.milestones = ("30%", "60%", "80%")  # epochs 60, 120, 160
    config.schedule.factor = 0.2
    config.optim.nesterov = True
    config.optim.weight_decay = 5e-4
    config.optim.decay_mask = (".",)  # everything, as in the recipe
    return config
