"""Medical pictures with a rare, grave class: DenseNet-121 with attention, balanced classes, a threshold for its recall.

    jaxcls train --config=medical_densenet --data=PATH --workdir=runs/medical \
        --config.model.pretrained=densenet121.safetensors --config.data.group_by='(IP_[0-9]+)'
    jaxcls calibrate runs/medical --recall melanoma=0.95 --apply

For skin lesions (ISIC), X-rays, retinas: any folder with a sub-folder for each finding. DenseNet-121 (Huang et al.
2017) with squeeze and excitation in every layer; `--config.model.fields.attention=cbam` has CBAM. Classes are drawn
equally often. Pictures of one patient must lie in one split: config.data.group_by. The report's ROC curve and the
table of `jaxcls calibrate` say what a wanted recall costs. Without config.model.pretrained it starts from nothing.

Not run by us: medical pictures cannot be downloaded here. A test runs it on a stand-in folder.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains a shallow net at 32 pixels for 4 steps."""
    tiny = parse_tiny(arg)
    size = 32 if tiny else 224
    config = default_config()
    config.duration = "4 steps" if tiny else "40 epochs"
    config.batch_size = 16 if tiny else 32
    config.data.name = "folder/pictures"
    config.data.sampling = "balanced"
    config.data.augment = (
        f"random_resized_crop({size}, scale=(0.5, 1.0))",
        "flip",
        "vflip",
        "rotate(180)",
        "color_jitter(0.2, 0.2, 0.2, 0.02)",
    )
    config.data.eval_transform = (f"resize({size * 8 // 7})", f"center_crop({size})")
    config.data.normalize = "imagenet"
    config.model.name = "densenet121"
    config.model.fields = {"attention": "se", "dropout": 0.2, **({"block_config": (1, 1)} if tiny else {})}
    config.loss.label_smoothing = 0.05
    config.schedule.peak = 0.01
    config.schedule.warmup = "" if tiny else "5%"
    config.optim.nesterov = True
    config.optim.weight_decay = 1e-4
    config.ema_decay = 0.5 if tiny else 0.999
    config.eval.tta = ("flip",)
    config.eval.best = "balanced_accuracy"
    return config
