"""ResNet-18 (3x3 stem, 11,173,962 parameters) on CIFAR-10: pad-4 crop and flip, SGD with a cosine, 200 epochs.

    jaxcls prepare cifar10
    jaxcls train --config=resnet18_cifar10

The recipe of mmpretrain's resnet18_8xb16_cifar10 with a cosine in place of its steps; published accuracy 94.82 %.
docs/results.md says what was measured here, and on what.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains two narrow blocks for 4 steps."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "4 steps" if tiny else "200 epochs"
    config.batch_size = 32 if tiny else 128
    config.data.name = "tfds/cifar10"
    config.data.validation = 0.0  # as in the papers: trained on all 50,000, the last state is the result
    config.data.augment = ("crop(32, pad=4)", "flip")
    config.data.normalize = "cifar10"
    config.model.name = "resnet18"
    config.model.fields = {"stem": "cifar", **({"width": 8, "stage_sizes": (1, 1)} if tiny else {})}
    config.schedule.peak = 0.1
    config.schedule.warmup = "2 steps" if tiny else "1 epoch"
    config.optim.nesterov = True
    config.optim.weight_decay = 5e-4
    config.optim.decay_mask = (".",)  # everything, as in the recipe
    return config
