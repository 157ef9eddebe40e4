"""MoCo v2 on ImageNet: a ResNet-50 whose queries find their keys among 65,536 of earlier batches.

    jaxcls prepare imagenet2012 --manual-dir=DIR   # the folder with the two archives
    jaxcls train --config=moco_v2_imagenet
    jaxcls probe runs/moco_v2_imagenet --protocol moco

The recipe of the authors' README (facebookresearch/moco): SGD 0.03 at batch 256, 200 epochs, temperature 0.2,
momentum 0.999; there 67.5 +- 0.1 % by a linear probe, 71.1 % after 800 epochs. BatchNorm has the statistics of 32
pictures, as on their 8 GPUs, with shuffled keys. Meant for 8 GPUs, two days; not run by us.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains a narrow ResNet of two blocks on synthetic pictures for 4 steps."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "4 steps" if tiny else "200 epochs"
    config.batch_size = 16 if tiny else 256
    config.precision = "bfloat16"
    config.data.name = "synthetic/64x48x3x10" if tiny else "tfds/imagenet2012"
    config.data.validation = 0.01  # of train, to watch the features; ImageNet's validation split is the test set
    size = 32 if tiny else 224
    config.data.augment = (
        f"random_resized_crop({size}, scale=(0.2, 1.0))",
        "flip",
        "color_jitter(0.4, 0.4, 0.4, 0.1, p=0.8)",
        "random_grey(0.2)",
        "gaussian_blur((0.1, 2.0), p=0.5)",
    )
    config.data.eval_transform = (f"resize({size * 8 // 7})", f"center_crop({size})")
    config.data.normalize = "imagenet"
    config.model.name = "resnet18" if tiny else "resnet50"
    config.model.fields = {"width": 8, "stage_sizes": (1, 1)} if tiny else {}
    config.parallel.batch_norm = "groups(8)"
    config.ssl.method = "moco"
    config.ssl.projector = (0, 128)
    config.ssl.temperature = 0.2
    config.ssl.queue = 64 if tiny else 65_536
    config.ssl.momentum = 0.999
    config.monitor.knn = "5, 0.1" if tiny else "lightly"
    config.monitor.pictures = 50_000
    config.optim.weight_decay = 1e-4
    config.optim.decay_mask = (".",)  # everything, as in the recipe
    config.schedule.peak = 0.03
    config.eval.every = "10 epochs"
    config.checkpoint.every = "1 epoch"
    return config
