"""LeNet-5 (61,706 parameters) on MNIST.

jaxcls prepare mnist
jaxcls train --config=lenet5_mnist
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains for 20 steps."""
    config = default_config()
    tiny = parse_tiny(arg)
    config.duration = "20 steps" if tiny else "20 epochs"
    config.batch_size = 128
    config.data.name = "tfds/mnist"
    config.data.validation = 0.0  # the recipe is fixed: nothing is selected, the last average is the result
    config.data.augment = ("crop(28, pad=2)",)
    config.data.normalize = "mnist"
    config.model.name = "lenet5"
    config.schedule.peak = 0.05
    config.schedule.warmup = "2 steps" if tiny else "1 epoch"
    config.optim.weight_decay = 5e-4
    config.ema_decay = 0.999
    return config
