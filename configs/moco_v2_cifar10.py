"""MoCo v2 on CIFAR-10: a ResNet-18 (3x3 stem) whose queries find their keys among those of earlier batches.

    jaxcls prepare cifar10
    jaxcls train --config=moco_v2_cifar10
    jaxcls probe runs/moco_v2_cifar10 --protocol moco

The recipe of the authors' CIFAR-10 notebook (facebookresearch/moco): SGD 0.06 at batch 512, 200 epochs, a queue of
4096, temperature 0.1, momentum 0.99, BatchNorm in 8 groups with shuffled keys; and v2's projector. The notebook's own
figures, with one layer as projector, by 200 neighbours: 82.6 % after 200 epochs, 86.3 % after 400, 88.7 % after 800;
symmetric (`--config.ssl.symmetric=True`) 85.3, 88.5 and 89.7 %. Meant for a GPU, some 3 hours; not run in full by us:
docs/results.md has what a narrow net learns in 30 epochs.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains two narrow blocks for 4 steps."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "4 steps" if tiny else "200 epochs"
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
    config.parallel.batch_norm = "groups(8)"
    config.ssl.method = "moco"
    config.ssl.temperature = 0.1
    config.ssl.queue = 64 if tiny else 4096
    config.ssl.momentum = 0.99
    config.monitor.knn = "20, 0.1" if tiny else "lightly"
    config.optim.weight_decay = 5e-4
    config.optim.decay_mask = (".",)  # everything, as in the notebook
    config.schedule.peak = 0.06
    config.eval.every = "10 epochs"
    config.checkpoint.every = "10 epochs"
    return config
