"""Leaf diseases by fine-tuning: 38 classes of plant_village, MobileNetV3-Large from ImageNet, 10 epochs.

    jaxcls prepare plant_village
    jaxcls train --config=plant_village --config.model.pretrained=mobilenet_v3_large.safetensors

54,303 pictures of leaves (Hughes and Salathe 2015) on a plain ground, so accuracies near 99 % are usual, and say little
about pictures from a field. 70 % are trained on, 15 % choose the checkpoint, 15 % are tested on, once. First the head
alone, then the last stage, then all. A net for telephones: `--config.model.name` takes any other.

Not run by us on this set, which cannot be downloaded here.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains a narrow ResNet of two blocks at 32 pixels for 4 steps on synthetic pictures."""
    tiny = parse_tiny(arg)
    size = 32 if tiny else 224
    config = default_config()
    config.duration = "4 steps" if tiny else "10 epochs"
    config.batch_size = 16 if tiny else 64
    config.data.name = "synthetic/64x48x3x4" if tiny else "tfds/plant_village"
    config.data.augment = (
        f"random_resized_crop({size}, scale=(0.35, 1.0))",
        "flip",
        "vflip",
        "color_jitter(0.2, 0.2, 0.2)",
    )
    config.data.eval_transform = (f"resize({size * 8 // 7})", f"center_crop({size})")
    config.data.normalize = "imagenet"
    config.model.name = "resnet18" if tiny else "mobilenet_v3_large"
    config.model.fields = {"width": 8, "stage_sizes": (1, 1)} if tiny else {}
    config.loss.label_smoothing = 0.1
    config.optim.unfreeze = ("25%: stage2", "50%: all") if tiny else ("10%: stage4", "30%: all")
    config.schedule.peak = 0.02
    config.schedule.warmup = "" if tiny else "5%"
    config.optim.nesterov = True
    config.optim.weight_decay = 1e-4
    return config
