"""LeNet-5 on the 1,797 handwritten digits that scikit-learn carries: no download, minutes at most on any machine.

jaxcls train --config=lenet5_digits --workdir=runs/digits
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains for one epoch."""
    config = default_config()
    config.duration = "1 epoch" if parse_tiny(arg) else "60 epochs"
    config.batch_size = 64
    config.data.name = "digits"
    config.data.augment = ("resize(28)", "crop(28, pad=3)")
    config.data.eval_transform = ("resize(28)",)
    config.model.name = "lenet5"
    config.schedule.peak = 0.05
    config.schedule.warmup = "4%"
    config.optim.weight_decay = 5e-4
    config.loss.label_smoothing = 0.1
    config.ema_decay = 0.99
    config.eval.every = "5 epochs"
    config.checkpoint.every = "5 epochs"
    return config
