"""ResNet-18 (11,689,512 parameters) on ImageNet-1k with a ResNet-50 as teacher: 0.7 T^2 KL + 0.3 cross entropy, T = 4.

    jaxcls prepare imagenet2012 --manual-dir=DIR
    jaxcls train --config=distill_resnet18 --config.distill.teacher=FILE_OR_WORKDIR

FILE is torchvision's resnet50 or any other in its names; for the workdir of a run of ours also give
`--config.distill.model=`. Alone, ResNet-18 is published with 69.8 %; what a teacher adds has not been measured by us.
Meant for 8 GPUs of 16 GiB, or one of 80 GiB.

CIFAR-100 is the last rung of the ladder, with a ResNet-50 that was trained by `configs/resnet18_cifar10.py` with
`--data=tfds/cifar100 --config.data.normalize=cifar100 --config.model.name=resnet50 --workdir=runs/teacher`
(79.9 % is published for it alone, so it wants the ladder's other tricks, too):

    jaxcls prepare cifar100
    jaxcls train --config=distill_resnet18:cifar100 --config.distill.teacher=runs/teacher
"""

from jaxcls.defaults import default_config
from jaxcls.errors import UserError


def get_config(arg=""):
    """`:cifar100` is for 32x32 pictures; `:tiny` has an untrained teacher and synthetic pictures, for 4 steps."""
    if arg not in ("", "tiny", "cifar100"):
        raise UserError(f"this config takes ':tiny', ':cifar100' or none, not ':{arg}'.")
    config = default_config()
    config.model.name = "resnet18"
    config.optim.nesterov = True
    config.distill.temperature = 4.0
    config.distill.alpha = 0.7
    return {"": imagenet, "cifar100": cifar100, "tiny": tiny}[arg](config)


def imagenet(config):
    """90 epochs at batch 1024."""
    config.duration = "90 epochs"
    config.batch_size = 1024
    config.precision = "bfloat16"
    config.data.name = "tfds/imagenet2012"
    config.data.validation = 0.0  # ImageNet's validation split plays the test set; nothing is selected on it
    config.data.augment = ("random_resized_crop(224)", "flip")
    config.data.eval_transform = ("resize(256)", "center_crop(224)")
    config.data.normalize = "imagenet"
    config.model.fields = {"zero_init_residual": True}
    config.distill.teacher = "resnet50.pth"
    config.distill.model = "resnet50"
    config.schedule.peak = 0.4  # 0.1 for each 256 pictures of a batch
    config.schedule.warmup = "5 epochs"
    config.optim.weight_decay = 1e-4
    return config


def cifar100(config):
    """200 epochs at batch 128; the teacher is a run of ours."""
    config.duration = "200 epochs"
    config.data.name = "tfds/cifar100"
    config.data.validation = 0.0
    config.data.augment = ("crop(32, pad=4)", "flip")
    config.data.normalize = "cifar100"
    config.model.fields = {"stem": "cifar"}
    config.distill.teacher = "runs/teacher"
    config.schedule.peak = 0.1
    config.schedule.warmup = "1 epoch"
    config.optim.weight_decay = 5e-4
    return config


def tiny(config):
    """Both nets have two narrow blocks; the teacher knows nothing, so only the mechanics are tried, and a hint."""
    config.duration = "4 steps"
    config.batch_size = 16
    config.data.name = "synthetic/64x48x3x10"
    config.data.augment = ("random_resized_crop(32)", "flip")
    config.data.eval_transform = ("resize(36)", "center_crop(32)")
    config.model.fields = {"width": 4, "stage_sizes": (1, 1)}
    config.distill.teacher = "init"
    config.distill.model = "resnet18"
    config.distill.fields = ("width=8", "stage_sizes=(1, 1)")
    config.distill.hints = ("stage2",)
    return config
