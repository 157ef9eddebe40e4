"""Industrial inspection: rare defects on grey pictures, by a small multi-scale ResNeXt (3,616,358 parameters).

    python -m jaxcls.main --config=configs/inspection.py --config.data.name=folder/PATH --workdir=runs/inspection
    python scripts/calibrate.py runs/inspection --recall crack=0.95

A ResNeXt of eight blocks (Xie et al. 2016) with a feature pyramid between stages and classifier (Lin et al. 2017), so
that small scratches and large stains are both seen, at 96 pixels, from scratch, for two CPU cores. Rare classes are
drawn more often (square root) and weigh more. One part photographed several times must lie in one split:
config.data.group_by. docs/examples.md goes through it on the magnetic tiles of Huang et al. 2018, and says what was
measured.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains a net of a quarter of the width at 32 pixels for 4 steps."""
    tiny = parse_tiny(arg)
    size = 32 if tiny else 96
    config = default_config()
    config.duration = "4 steps" if tiny else "40 epochs"
    config.batch_size = 32
    config.data.name = "folder/pictures"
    config.data.channels = 1
    config.data.pack = 0 if tiny else size * 8 // 7
    config.data.sampling = "sqrt"
    config.data.augment = (
        f"random_resized_crop({size}, scale=(0.5, 1.0))",
        "flip",
        "vflip",
        "color_jitter(0.3, 0.3, 0)",
    )
    config.data.eval_transform = (f"resize({size})", f"center_crop({size})")
    config.data.mean = (0.45,)
    config.data.std = (0.25,)
    config.model.name = "resnext50_32x4d"
    config.model.fields = {"stage_sizes": (1, 1, 1, 1) if tiny else (2, 2, 2, 2), "width": 16 if tiny else 32}
    config.model.neck = "fpn(16)" if tiny else "fpn(64)"
    config.loss.class_weight = "effective(0.99)"
    config.loss.label_smoothing = 0.05
    config.schedule.peak = 0.05
    config.schedule.warmup = "" if tiny else "10%"
    config.optim.nesterov = True
    config.optim.weight_decay = 5e-4
    config.ema_decay = 0.5 if tiny else 0.99
    config.eval.best = "balanced_accuracy"
    return config
