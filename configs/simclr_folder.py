"""A folder of one's own pictures, without labels: a ResNet-18 learns by SimCLR what they have in common.

    jaxcls train --config=simclr_folder --config.data.name=unlabelled/PATH --workdir=runs/ssl
    jaxcls train --config=simclr_folder --config.data.name=unlabelled/PATH --config.monitor.data=folder/LABELLED

The second command watches the features on a folder with a sub-folder a class; what is in it is never learnt. SGD at
lightly's rate, 0.06 for each 128 pictures, with SimCLR's views at 128 pixels. It is worth while from some ten thousand
pictures on; docs/self-supervised.md says how to tell that it works.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains two narrow blocks at 32 pixels for 4 steps."""
    tiny = parse_tiny(arg)
    size = 32 if tiny else 128
    config = default_config()
    config.duration = "4 steps" if tiny else "200 epochs"
    config.batch_size = 16 if tiny else 256
    config.data.name = "unlabelled/pictures"
    config.data.augment = (
        f"random_resized_crop({size}, scale=(0.2, 1.0))",
        "flip",
        "color_jitter(0.4, 0.4, 0.4, 0.1, p=0.8)",
        "random_grey(0.2)",
        "gaussian_blur((0.1, 2.0), p=0.5)",
    )
    config.data.eval_transform = (f"resize({size * 8 // 7})", f"center_crop({size})")
    config.data.normalize = "imagenet"
    config.model.name = "resnet18"
    config.model.fields = {"width": 8, "stage_sizes": (1, 1)} if tiny else {}
    config.ssl.method = "simclr"
    config.ssl.temperature = 0.2
    config.monitor.knn = "5, 0.1" if tiny else "20, 0.07"
    config.eval.best = "knn"
    config.optim.weight_decay = 1e-4
    config.schedule.peak = 0.06
    config.schedule.per_batch = 128
    config.schedule.warmup = "" if tiny else "10 epochs"
    config.eval.every = "5 epochs"
    config.checkpoint.every = "1 epoch"
    return config
