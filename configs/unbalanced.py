"""A folder of one's own pictures in which some classes are rare: square-root sampling and weights of the classes.

    jaxcls train --config=unbalanced --data=PATH --workdir=runs/rare

As configs/folder.py, a ResNet-18 from scratch at 128 pixels. Pictures of rare classes are drawn more often, but not as
often as the others, and the rest of the difference is made up by the loss (effective numbers, Cui et al. 2019). The
pictures are decoded once and kept packed. docs/data.md says what else there is; no figures were measured.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains two narrow blocks at 32 pixels for 4 steps, without the packed file."""
    tiny = parse_tiny(arg)
    size = 32 if tiny else 128
    config = default_config()
    config.duration = "4 steps" if tiny else "60 epochs"
    config.batch_size = 16 if tiny else 32
    config.data.name = "folder/pictures"
    config.data.pack = 0 if tiny else 160
    config.data.sampling = "sqrt"
    config.data.augment = (
        f"random_resized_crop({size}, scale=(0.25, 1.0))",
        "flip",
        "rotate(15)",
        "color_jitter(0.2, 0.2, 0.2)",
        "random_erasing(0.1)",
        "mixup(0.2, p=0.5)",
    )
    config.data.eval_transform = (f"resize({size * 8 // 7})", f"center_crop({size})")
    config.data.normalize = "imagenet"
    config.model.name = "resnet18"
    config.model.fields = {"width": 8, "stage_sizes": (1, 1)} if tiny else {}
    config.loss.class_weight = "effective(0.99)"
    config.schedule.peak = 0.05
    config.schedule.warmup = "" if tiny else "5%"
    config.optim.nesterov = True
    config.optim.weight_decay = 5e-4
    config.ema_decay = 0.99
    config.eval.best = "balanced_accuracy"
    return config
