"""SimCLR on CIFAR-10: a ResNet-18 (3x3 stem) that learns to tell pictures apart by two views of each, without labels.

    jaxcls prepare cifar10
    jaxcls train --config=simclr_cifar10
    jaxcls probe runs/simclr_cifar10 --protocol simclr

The recipe of the authors' CIFAR-10 command (google-research/simclr, README): LARS 1.0 for each 256 pictures, batch
512, 1000 epochs, temperature 0.5, no blur; there "around 91 %" by a linear probe. lightly's table, by neighbours,
with SGD and batch 512: 84.8 % after 200 epochs, 87.9 % after 800. Meant for a GPU, some 10 hours; not run in full by
us: docs/results.md has what a narrow net learns in 30 epochs.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains two narrow blocks for 4 steps."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "4 steps" if tiny else "1000 epochs"
    config.batch_size = 32 if tiny else 512
    config.data.name = "tfds/cifar10"
    config.data.augment = (
        "random_resized_crop(32)",
        "flip",
        "color_jitter(0.4, 0.4, 0.4, 0.1, p=0.8)",
        "random_grey(0.2)",
    )
    config.data.normalize = "cifar10"
    config.model.name = "resnet18"
    config.model.fields = {"stem": "cifar", **({"width": 8, "stage_sizes": (1, 1)} if tiny else {})}
    config.ssl.method = "simclr"
    config.ssl.temperature = 0.5
    config.monitor.knn = "20, 0.1" if tiny else "lightly"
    config.optim.name = "lars"
    config.optim.lars_form = "simclr"
    config.optim.weight_decay = 1e-4
    config.optim.decay_mask = (r"^(?!fc/).*kernel$",)  # no norms, no biases, not the probe
    config.schedule.peak = 1.0
    config.schedule.per_batch = 256
    config.schedule.warmup = "1 step" if tiny else "10 epochs"
    config.eval.every = "10 epochs"
    config.checkpoint.every = "10 epochs"
    return config
