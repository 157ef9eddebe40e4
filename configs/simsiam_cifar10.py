"""SimSiam on CIFAR-10: each view predicts what the same encoder, held still, makes of the other one.

    jaxcls prepare cifar10
    jaxcls train --config=simsiam_cifar10
    jaxcls probe runs/simsiam_cifar10

The recipe of lightly's CIFAR-10 benchmark: SGD 0.06 for each 128 pictures, batch 512, 800 epochs; there 76.4 % by 200
neighbours after 200 epochs, 90.4 % after 800. solo-learn has 90.51 % by its online linear probe after 1000. Meant for
a GPU; not run in full by us.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains two narrow blocks for 4 steps."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "4 steps" if tiny else "800 epochs"
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
    config.ssl.method = "simsiam"
    config.ssl.projector = (32, 16) if tiny else (2048, 2048, 2048)
    config.ssl.predictor = (16, 16) if tiny else (512, 2048)
    config.monitor.knn = "20, 0.1" if tiny else "lightly"
    config.optim.weight_decay = 5e-4
    config.optim.decay_mask = (".",)  # everything, as there
    config.schedule.peak = 0.06
    config.schedule.per_batch = 128
    config.eval.every = "10 epochs"
    config.checkpoint.every = "10 epochs"
    return config
