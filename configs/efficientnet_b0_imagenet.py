"""EfficientNet-B0 (5,288,548 parameters) on ImageNet-1k: 350 epochs at batch 4096, RMSProp as in TensorFlow.

    jaxcls prepare imagenet2012 --manual-dir=DIR
    jaxcls train --config=efficientnet_b0_imagenet

Source: Tan and Le 2019 (arXiv 1905.11946), section 5.2, and the authors' code: rate 0.256 times 0.97 every 2.4 epochs,
AutoAugment, stochastic depth and dropout 0.2, averaged weights. Published: 77.1 % in the paper; the authors' weights
have 76.9 % with AutoAugment, 76.5 % without. Meant for 8 GPUs of 32 GiB, or one of 80 GiB with --config.accumulate=4;
made for a TPU. Not run by us.

Where we differ: padding is PyTorch's, BatchNorm's epsilon and momentum are torchvision's (theirs: 1e-3 and 0.99).
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains two narrow blocks on synthetic pictures for 4 steps."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "4 steps" if tiny else "350 epochs"
    config.batch_size = 16 if tiny else 4096
    config.precision = "bfloat16"
    config.data.name = "synthetic/64x48x3x10" if tiny else "tfds/imagenet2012"
    config.data.validation = 0.0  # ImageNet's validation split plays the test set; nothing is selected on it
    crop = "random_resized_crop(32)" if tiny else "random_resized_crop(224, resample='bicubic')"
    config.data.augment = (crop, "flip", "auto_augment('imagenet')")
    config.data.eval_transform = ("resize(36)", "center_crop(32)") if tiny else ("resize(256)", "center_crop(224)")
    config.data.normalize = "imagenet"
    config.model.name = "efficientnet_b0"
    config.model.fields = {
        "dropout": 0.2,
        "stochastic_depth": 0.2,
    }
    if tiny:  # (expansion, kernel, stride, features, repeats) of each stage
        config.model.fields.rows = ((1, 3, 1, 8, 1), (6, 5, 2, 16, 1))
    config.loss.label_smoothing = 0.1
    config.schedule.name = "step"
    config.schedule.peak = 0.016  # for 256 pictures: 0.256 for 4096
    config.schedule.per_batch = 256
    config.schedule.every = "2 steps" if tiny else "2.4 epochs"
    config.schedule.factor = 0.97
    config.schedule.warmup = "1 step" if tiny else "5 epochs"
    config.optim.name = "rmsprop_tf"
    config.optim.eps = 1e-3
    config.optim.weight_decay = 1e-5
    config.ema_decay = 0.9999
    return config
