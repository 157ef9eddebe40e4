"""MoCo v3 on ImageNet with a ResNet-50: no queue, a predictor, two unlike views.

    jaxcls prepare imagenet2012 --manual-dir=DIR   # the folder with the two archives
    jaxcls train --config=moco_v3_resnet50_imagenet
    jaxcls probe runs/moco_v3_resnet50_imagenet --protocol moco

The recipe of the authors' CONFIG.md (facebookresearch/moco-v3): LARS 0.6 for each 256 pictures, batch 4096, 100
epochs; there 68.9 % by a linear probe, 72.8 % after 300 epochs, 74.6 % after 1000 (with other rates and momenta).
Meant for 16 GPUs; not run by us.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains a narrow ResNet of two blocks on synthetic pictures for 4 steps."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "4 steps" if tiny else "100 epochs"
    config.batch_size = 16 if tiny else 4096
    config.precision = "bfloat16"
    config.data.name = "synthetic/64x48x3x10" if tiny else "tfds/imagenet2012"
    config.data.validation = 0.01  # of train, to watch the features; ImageNet's validation split is the test set
    size = 32 if tiny else 224
    config.data.augment = (
        f"random_resized_crop({size}, scale=(0.2, 1.0))",
        "flip",
        "color_jitter(0.4, 0.4, 0.2, 0.1, p=0.8)",
        "random_grey(0.2)",
        "gaussian_blur((0.1, 2.0), p=1.0)",
    )
    config.data.augment_second = (*config.data.augment[:-1], "gaussian_blur((0.1, 2.0), p=0.1)", "solarize(128, p=0.2)")
    config.data.eval_transform = (f"resize({size * 8 // 7})", f"center_crop({size})")
    config.data.normalize = "imagenet"
    config.model.name = "resnet18" if tiny else "resnet50"
    config.model.fields = {"width": 8, "stage_sizes": (1, 1)} if tiny else {}
    config.ssl.method = "moco_v3"
    config.ssl.projector = (32, 16) if tiny else (4096, 256)
    config.ssl.predictor = (32, 16) if tiny else (4096, 256)
    config.ssl.temperature = 1.0
    config.ssl.momentum = 0.99
    config.ssl.momentum_schedule = "cosine"
    config.monitor.knn = "5, 0.1" if tiny else "lightly"
    config.monitor.pictures = 50_000
    config.optim.name = "lars"
    config.optim.lars_form = "moco_v3"
    config.optim.weight_decay = 1e-6
    config.optim.decay_mask = (r"^(?!fc/).*kernel$",)  # no norms, no biases, not the probe
    config.schedule.peak = 0.6
    config.schedule.per_batch = 256
    config.schedule.warmup = "1 step" if tiny else "10 epochs"
    config.eval.every = "10 epochs"
    config.checkpoint.every = "1 epoch"
    return config
