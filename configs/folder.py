"""A folder of one's own pictures, one sub-folder a class, with or without train/val/test folders above them.

    jaxcls train --config=folder --data=PATH --workdir=runs/mine

Without split folders 70 % of each class are trained on, 15 % choose the checkpoint, 15 % are tested on, once. A
ResNet-18 from scratch at 128 pixels: a baseline that runs everywhere.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains two narrow blocks at 32 pixels for 4 steps."""
    tiny = parse_tiny(arg)
    size = 32 if tiny else 128
    config = default_config()
    config.duration = "4 steps" if tiny else "60 epochs"
    config.batch_size = 16 if tiny else 32
    config.data.name = "folder/pictures"
    config.data.augment = (f"random_resized_crop({size}, scale=(0.25, 1.0))", "flip")
    config.data.eval_transform = (f"resize({size * 8 // 7})", f"center_crop({size})")
    config.data.normalize = "imagenet"
    config.model.name = "resnet18"
    config.model.fields = {"width": 8, "stage_sizes": (1, 1)} if tiny else {}
    config.loss.label_smoothing = 0.1
    config.schedule.peak = 0.05
    config.schedule.warmup = "" if tiny else "5%"
    config.optim.nesterov = True
    config.optim.weight_decay = 5e-4
    config.ema_decay = 0.99
    return config
