"""ResNet-18 (3x3 stem, 11,220,132 parameters) on CIFAR-100: pad-4 crop and flip, SGD in steps, 200 epochs.

    jaxcls prepare cifar100
    jaxcls train --config=resnet18_cifar100

The recipe of weiaicunzai's pytorch-cifar100, which also turns pictures by up to 15 degrees (`rotate(15)`, left out
here). Published: 75.6 %. configs/ladders/cifar100_resnet18.py shows what further tricks add. Meant for one GPU of
8 GiB. Not run by us.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains two narrow blocks for 4 steps."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "4 steps" if tiny else "200 epochs"
    config.batch_size = 32 if tiny else 128
    config.data.name = "tfds/cifar100"
    config.data.validation = 0.0  # as in the papers: trained on all 50,000, the last state is the result
    config.data.augment = ("crop(32, pad=4)", "flip")
    config.data.normalize = "cifar100"
    config.model.name = "resnet18"
    config.model.fields = {"stem": "cifar", **({"width": 8, "stage_sizes": (1, 1)} if tiny else {})}
    config.schedule.name = "multi_step"
    config.schedule.peak = 0.1
    config.schedule.milestones = ("30%", "60%", "80%")
    config.schedule.factor = 0.2
    config.schedule.warmup = "1 step" if tiny else "1 epoch"
    config.optim.weight_decay = 5e-4
    config.optim.decay_mask = (".",)  # everything, as in the recipe
    return config
