"""Barlow Twins on CIFAR-10: the correlation matrix of two views' projections is made the identity.

    jaxcls prepare cifar10
    jaxcls train --config=barlow_twins_cifar10
    jaxcls probe runs/barlow_twins_cifar10

The recipe of solo-learn (scripts/pretrain/cifar/barlow.yaml), whose table has 92.10 % by its online linear probe
after 1000 epochs. lightly's, by neighbours, with SGD and batch 512: 81.9 % after 200 epochs, 85.9 % after 800. Meant
for a GPU; not run in full by us.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains two narrow blocks for 4 steps."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "4 steps" if tiny else "1000 epochs"
    config.batch_size = 32 if tiny else 256
    config.data.name = "tfds/cifar10"
    config.data.augment = (
        "random_resized_crop(32)",
        "flip",
        "color_jitter(0.4, 0.4, 0.2, 0.1, p=0.8)",
        "random_grey(0.2)",
    )
    config.data.augment_second = (*config.data.augment, "solarize(128, p=0.2)")
    config.data.normalize = "cifar10"
    config.model.name = "resnet18"
    config.model.fields = {"stem": "cifar", **({"width": 8, "stage_sizes": (1, 1)} if tiny else {})}
    config.ssl.method = "barlow_twins"
    config.ssl.projector = (32, 16) if tiny else (2048, 2048, 2048)
    config.ssl.scale = 0.1
    config.monitor.knn = "20, 0.1" if tiny else "lightly"
    config.optim.name = "lars"
    config.optim.lars_form = "solo_learn"
    config.optim.trust = 0.02
    config.optim.weight_decay = 1e-4
    config.optim.decay_mask = (r"^(?!fc/).*kernel$",)  # no norms, no biases, not the probe
    config.schedule.peak = 0.3
    config.schedule.per_batch = 256
    config.schedule.warmup = "1 step" if tiny else "10 epochs"
    config.eval.every = "10 epochs"
    config.checkpoint.every = "10 epochs"
    return config
