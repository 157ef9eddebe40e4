"""MobileNetV2 (3,504,872 parameters) on ImageNet-1k: 300 epochs at batch 256, the recipe of torchvision's weights.

    jaxcls prepare imagenet2012 --manual-dir=DIR
    jaxcls train --config=mobilenet_v2_imagenet

Source: torchvision's references/classification: SGD, rate 0.045 times 0.98 every epoch (the paper, Sandler et al. 2018,
arXiv 1801.04381, has the same rates with RMSProp on 16 asynchronous GPUs, and 72.0 %). Published: 71.88 %. Meant for
one GPU of 16 GiB or several. Not run by us.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains two narrow blocks on synthetic pictures for 4 steps."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "4 steps" if tiny else "300 epochs"
    config.batch_size = 16 if tiny else 256
    config.precision = "bfloat16"
    config.data.name = "synthetic/64x48x3x10" if tiny else "tfds/imagenet2012"
    config.data.validation = 0.0  # ImageNet's validation split plays the test set; nothing is selected on it
    config.data.augment = (f"random_resized_crop({32 if tiny else 224})", "flip")
    config.data.eval_transform = ("resize(36)", "center_crop(32)") if tiny else ("resize(256)", "center_crop(224)")
    config.data.normalize = "imagenet"
    config.model.name = "mobilenet_v2"
    config.model.fields = {"dropout": 0.2}
    if tiny:  # (expansion, features, blocks, stride) of each stage
        config.model.fields.rows = ((1, 8, 1, 1), (6, 16, 1, 2))
    config.schedule.name = "step"
    config.schedule.peak = 0.045
    config.schedule.every = "2 steps" if tiny else "1 epoch"
    config.schedule.factor = 0.98
    config.optim.weight_decay = 4e-5
    config.optim.decay_mask = (".",)  # everything, as there
    config.parallel.batch_norm = "local"  # of a GPU, as there
    return config
