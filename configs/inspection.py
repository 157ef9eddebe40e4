"""Industrial inspection: rare defects on grey pictures, by a small multi-scale ResNeXt (1,052,150 parameters).

    jaxcls train --config=inspection --data=PATH --workdir=runs/inspection
    jaxcls calibrate runs/inspection --recall crack=0.95 --apply

A ResNeXt of eight blocks (Xie et al. 2016) with a feature pyramid between stages and classifier (Lin et al. 2017), so
that small scratches and large stains are both seen, at 128 pixels, from scratch, for two CPU cores. The picture is
squeezed to a square and never cropped: a crop may lose the defect, and then its label is wrong. Rare classes are drawn
more often (square root) and weigh more, and the checkpoint is chosen by the balanced accuracy: by plain accuracy it
would be one that calls everything free of defects. One part photographed several times must lie in one split:
config.data.group_by. docs/examples.md goes through it on the magnetic tiles of Huang et al. 2018, and says what was
measured.
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
    config.data.channels = 1
    config.data.pack = 0 if tiny else size
    config.data.sampling = "sqrt"
    config.data.augment = (
        f"resize({size}, {size})",
        "flip",
        "vflip",
        "color_jitter(0.3, 0.3, 0)",
    )
    config.data.eval_transform = (f"resize({size}, {size})",)
    config.data.mean = (0.45,)
    config.data.std = (0.25,)
    config.model.name = "resnext50_32x4d"
    config.model.fields = {"stage_sizes": (1, 1) if tiny else (2, 2, 2, 2), "width": 16}
    config.model.neck = "fpn(16)" if tiny else "fpn(64)"
    config.loss.class_weight = "effective(0.99)"
    config.loss.label_smoothing = 0.05
    config.schedule.peak = 1e-3
    config.schedule.warmup = "" if tiny else "5%"
    config.optim.name = "adamw"
    config.optim.weight_decay = 0.05
    config.ema_decay = 0.5 if tiny else 0.99
    config.eval.best = "balanced_accuracy"
    return config
