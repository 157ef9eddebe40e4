"""MobileNetV3-Large (5,483,032 parameters) on ImageNet-1k: 600 epochs, the recipe of torchvision's weights.

    jaxcls prepare imagenet2012 --manual-dir=DIR
    jaxcls train --config=mobilenet_v3_large_imagenet

Source: torchvision's references/classification: RMSProp, rate 0.064 times 0.973 every two epochs, AutoAugment, erasing.
Published: 74.04 % (the paper, Howard et al. 2019, arXiv 1905.02244: 75.2 %). Meant for 8 GPUs of 16 GiB, or one of
80 GiB. Not run by us.

Where we differ: RMSProp is TensorFlow's, with 1e-3 below the root (there: PyTorch's, with its root, 0.0316, beside it).
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains two narrow blocks on synthetic pictures for 4 steps."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "4 steps" if tiny else "600 epochs"
    config.batch_size = 16 if tiny else 1024
    config.precision = "bfloat16"
    config.data.name = "synthetic/64x48x3x10" if tiny else "tfds/imagenet2012"
    config.data.validation = 0.0  # ImageNet's validation split plays the test set; nothing is selected on it
    config.data.augment = (
        f"random_resized_crop({32 if tiny else 224})", "flip", "auto_augment('imagenet')", "random_erasing(0.2)",
    )  # fmt: skip
    config.data.eval_transform = ("resize(36)", "center_crop(32)") if tiny else ("resize(256)", "center_crop(224)")
    config.data.normalize = "imagenet"
    config.model.name = "mobilenet_v3_large"
    config.model.fields = {"dropout": 0.2}
    if tiny:  # (kernel, expanded, features, squeeze, activation, stride) of each block
        rows = ((3, 16, 8, False, "RE", 2), (5, 24, 16, True, "HS", 2))
        config.model.fields.rows, config.model.fields.hidden = rows, 32
    config.schedule.name = "step"
    config.schedule.peak = 0.064
    config.schedule.every = "2 steps" if tiny else "2 epochs"
    config.schedule.factor = 0.973
    config.optim.name = "rmsprop_tf"
    config.optim.eps = 1e-3
    config.optim.weight_decay = 1e-5
    config.optim.decay_mask = (".",)  # everything, as there
    config.parallel.batch_norm = "local"  # of a GPU, as there
    return config
