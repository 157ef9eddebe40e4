"""SimCLR on ImageNet: a ResNet-50 that learns to tell pictures apart by two views of each, without labels.

    jaxcls prepare imagenet2012 --manual-dir=DIR   # the folder with the two archives
    jaxcls train --config=simclr_imagenet
    jaxcls probe runs/simclr_imagenet --protocol simclr

The recipe of the authors' README (google-research/simclr): LARS 0.3 for each 256 pictures, batch 4096, 100 epochs,
temperature 0.1; there 64.5 % by a linear probe; the paper's 1000 epochs: 69.1 %. Meant for 32 accelerators of 16 GiB
or 8 of 80 GiB; not run by us.
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
        f"random_resized_crop({size}, scale=(0.08, 1.0))",
        "flip",
        "color_jitter(0.8, 0.8, 0.8, 0.2, p=0.8)",
        "random_grey(0.2)",
        "gaussian_blur((0.1, 2.0), p=0.5)",
    )
    config.data.eval_transform = (f"resize({size * 8 // 7})", f"center_crop({size})")
    config.data.normalize = "imagenet"
    config.model.name = "resnet18" if tiny else "resnet50"
    config.model.fields = {"width": 8, "stage_sizes": (1, 1)} if tiny else {"zero_init_residual": True}
    config.ssl.method = "simclr"
    config.ssl.temperature = 0.1
    config.monitor.knn = "5, 0.1" if tiny else "lightly"
    config.monitor.pictures = 50_000
    config.optim.name = "lars"
    config.optim.lars_form = "simclr"
    config.optim.weight_decay = 1e-6
    config.optim.decay_mask = (r"^(?!fc/).*kernel$",)  # no norms, no biases, not the probe
    config.schedule.peak = 0.3
    config.schedule.per_batch = 256
    config.schedule.warmup = "1 step" if tiny else "10 epochs"
    config.eval.every = "10 epochs"
    config.checkpoint.every = "1 epoch"
    return config
