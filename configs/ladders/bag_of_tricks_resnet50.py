"""The ladder of "Bag of Tricks for Image Classification" with a ResNet-50 on ImageNet-1k.

    jaxcls prepare imagenet2012 --manual-dir=DIR
    jaxcls ablate bag_of_tricks_resnet50:resnet152d.pth --seeds 1

Source: He et al. 2018 (arXiv 1812.01187), tables 3 to 6. The argument is a file of weights of timm's resnet152d, the
teacher of the last rung, which is left out without it. Published: 75.87 % at batch 256; 76.21 with batch 1024, warm-up,
zero gamma, no decay on biases and half precision; 76.66 (ResNet-B), 76.87 (C), 77.16 (D), 77.91 (cosine), 78.31 (label
smoothing), 79.15 (mixup, 200 epochs), 79.29 (mixup and distillation). 120 epochs a run, from mixup on 200; meant for 8
GPUs of 32 GiB, where a run takes a day or so. Not run by us.

Where we differ: our ResNet-50 strides in its 3x3 convolutions, so it is a ResNet-B from the start; brightness and
saturation are jittered, but not hue, and there is no PCA noise; half precision is bfloat16; distillation is half the
loss and half the teacher's, with T^2 = 400.
"""

from jaxcls.defaults import default_config


def get_ladder(arg=""):
    """A file of the teacher's weights; `:tiny` trains narrow, shallow nets on synthetic pictures for 4 steps a rung."""
    tiny = arg == "tiny"
    config, rungs = baseline(tiny), []

    def rung(name):
        rungs.append((name, config.copy_and_resolve_references()))

    rung("baseline")

    config.batch_size = 32 if tiny else 1024
    rung("+ batch 1024, rate in proportion")

    config.schedule.warmup = "1 step" if tiny else "5 epochs"
    rung("+ warm-up")

    config.model.fields.zero_init_residual = True
    rung("+ zero gamma")

    config.optim.decay_mask = default_config().optim.decay_mask
    rung("+ no decay on biases and norms")

    config.precision = "bfloat16"
    rung("+ bfloat16")

    config.model.fields.stem = "deep"
    rung("+ ResNet-C")

    config.model.fields.avg_down = True
    rung("+ ResNet-D")

    config.schedule.name = "cosine"
    config.schedule.milestones = ()
    rung("+ cosine")

    config.loss.label_smoothing = 0.1
    rung("+ label smoothing")

    config.duration = "6 steps" if tiny else "200 epochs"
    config.data.augment = (*config.data.augment, "mixup(0.2)")
    rung("+ mixup, 200 epochs")

    if arg:
        config.distill.teacher = "init" if tiny else arg
        config.distill.model = "simple_cnn_16_32" if tiny else "resnet152d"
        config.distill.alpha = 0.5
        config.distill.temperature = 20.0
        rung("+ distillation")
    return rungs


def baseline(tiny):
    """Batch 256, everything decays, the rate falls at epochs 30, 60 and 90."""
    config = default_config()
    size = 32 if tiny else 224
    config.duration = "4 steps" if tiny else "120 epochs"
    config.batch_size = 16 if tiny else 256
    config.data.name = "synthetic/64x48x3x10" if tiny else "tfds/imagenet2012"
    config.data.validation = 0.0  # ImageNet's validation split plays the test set; nothing is selected on it
    config.data.augment = (f"random_resized_crop({size})", "flip", "hsv_jitter(0, 0.4, 0.4)")
    config.data.eval_transform = (f"resize({size * 8 // 7})", f"center_crop({size})")
    config.data.normalize = "imagenet"
    config.model.name = "resnet50"
    config.model.fields = {"width": 4, "stage_sizes": (1, 1)} if tiny else {}
    config.schedule.name = "multi_step"
    config.schedule.peak = 0.1
    config.schedule.per_batch = 256
    config.schedule.milestones = ("25%", "50%", "75%")
    config.optim.nesterov = True
    config.optim.weight_decay = 1e-4
    config.optim.decay_mask = (".",)
    return config
