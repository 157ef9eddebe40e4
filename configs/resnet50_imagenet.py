"""ResNet-50 (v1.5, 25,557,032 parameters) on ImageNet-1k: 90 epochs at batch 1024, the recipe of Goyal et al. (2017).

    jaxcls prepare imagenet2012 --manual-dir=DIR   # the folder with the two archives
    jaxcls train --config=resnet50_imagenet

Meant for 8 GPUs with 16 GiB or more, or one of 80 GiB or more. Published for this recipe in Flax: 76.3 % after 4.3
hours on 8 V100 in float16. Not run on ImageNet by us; docs/results.md holds what was measured.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains a narrow ResNet of two blocks on synthetic pictures for 4 steps."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "4 steps" if tiny else "90 epochs"
    config.batch_size = 16 if tiny else 1024
    config.precision = "bfloat16"
    config.data.name = "synthetic/64x48x3x10" if tiny else "tfds/imagenet2012"
    config.data.validation = 0.0  # ImageNet's validation split plays the test set; nothing is selected on it
    size = 32 if tiny else 224
    config.data.augment = (f"random_resized_crop({size})", "flip")
    config.data.eval_transform = (f"resize({size * 8 // 7})", f"center_crop({size})")
    config.data.normalize = "imagenet"
    config.model.name = "resnet18" if tiny else "resnet50"
    config.model.fields = {"zero_init_residual": True, **({"width": 8, "stage_sizes": (1, 1)} if tiny else {})}
    config.loss.label_smoothing = 0.1
    config.schedule.peak = 0.4  # 0.1 for each 256 pictures of a batch
    config.schedule.warmup = "1 step" if tiny else "5 epochs"
    config.optim.nesterov = True
    config.optim.weight_decay = 1e-4
    config.parallel.batch_norm = "local"  # of a worker, as in the paper (section 2.3)
    return config
