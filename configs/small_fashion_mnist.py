"""A ResNet-18 of a quarter of the width (3x3 stem, 701,178 parameters) on Fashion-MNIST, for CPUs: 15 epochs.

    jaxcls prepare fashion_mnist
    jaxcls train --config=small_fashion_mnist

A recipe of our own: random crops, mirroring, SGD with a cosine. Goal: 93.5 %.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains two blocks of an eighth of that width for 4 steps."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "4 steps" if tiny else "15 epochs"
    config.batch_size = 32 if tiny else 128
    config.data.name = "tfds/fashion_mnist"
    config.data.validation = 0.0  # the recipe is fixed: nothing is selected, the last state is the result
    config.data.augment = ("crop(28, pad=2)", "flip")
    config.data.normalize = "fashion_mnist"
    config.model.name = "resnet18"
    config.model.fields = {"stem": "cifar", **({"width": 2, "stage_sizes": (1, 1)} if tiny else {"width": 16})}
    config.loss.label_smoothing = 0.1
    config.schedule.peak = 0.1
    config.schedule.warmup = "1 step" if tiny else "1 epoch"
    config.optim.nesterov = True
    config.optim.weight_decay = 5e-4
    return config
