"""CIFAR-100 with a ResNet-18, trick by trick: AutoAugment, SE, label smoothing and a cosine, a ResNet-50 as teacher.

    jaxcls prepare cifar100
    jaxcls ablate cifar100_resnet18

Goals, of an article on these tricks: 76.2, 78.5, 79.3, 80.1, 81.7 %; published for the baseline 75.6 % (weiaicunzai's
pytorch-cifar100), for a ResNet-50 alone 79.9 % (mmpretrain), so the teacher has the tricks, too: it is a rung of its
own that is trained for every seed. 200 epochs a run, about 300 PFLOP for one seed; meant for one GPU of 16 GiB. Not run
by us. `:short` has 30 epochs for all: less than the goals, but enough to see what a step is worth in a short run.
"""

from jaxcls.defaults import default_config
from jaxcls.errors import UserError

DURATIONS = {"": "200 epochs", "short": "30 epochs", "tiny": "4 steps"}


def get_ladder(arg=""):
    """`:short` has 30 epochs a rung; `:tiny` trains narrow, shallow nets on synthetic pictures for 4 steps a rung."""
    if arg not in DURATIONS:
        raise UserError(f"this ladder takes ':short', ':tiny' or none, not ':{arg}'.")
    config, rungs = baseline(arg), []

    def rung(name, *against):
        rungs.append((name, config.copy_and_resolve_references(), *against))

    rung("baseline")

    config.data.augment = (*config.data.augment, "auto_augment('cifar10')")
    rung("+ AutoAugment")

    config.model.fields.attention = "se"
    rung("+ SE")

    config.loss.label_smoothing = 0.1
    config.schedule.name = "cosine"
    config.schedule.milestones = ()
    config.schedule.factor = 0.1  # its default: a cosine has none
    rung("+ label smoothing, cosine")

    config.model.name = "resnet50"
    config.loss.label_smoothing = 0.0  # a smoothed teacher teaches less (Mueller et al. 2019, arXiv 1906.02629)
    rung("teacher: SE-ResNet-50", "")

    config.model.name = "resnet18"
    config.loss.label_smoothing = 0.1
    config.distill.teacher = "rung:teacher: SE-ResNet-50"
    rung("+ distillation")
    return rungs


def baseline(arg):
    """Crop and flip, SGD whose rate falls in steps."""
    tiny = arg == "tiny"
    config = default_config()
    config.duration = DURATIONS[arg]
    config.batch_size = 16 if tiny else 128
    config.data.name = "synthetic/64x32x3x10" if tiny else "tfds/cifar100"
    config.data.validation = 0.0  # as in the papers: trained on all 50,000, the last state is the result
    config.data.augment = ("crop(32, pad=4)", "flip")
    config.data.normalize = "cifar100"
    config.model.name = "resnet18"
    config.model.fields = {"stem": "cifar", **({"width": 4, "stage_sizes": (1, 1)} if tiny else {})}
    config.schedule.name = "multi_step"
    config.schedule.peak = 0.1
    config.schedule.milestones = ("30%", "60%", "80%")
    config.schedule.factor = 0.2
    config.schedule.warmup = "1 step" if tiny else "1 epoch"
    config.optim.nesterov = True
    config.optim.weight_decay = 5e-4
    return config
