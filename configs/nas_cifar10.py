"""Architecture search on CIFAR-10 for nets of 1.2 million parameters: eleven blocks of kernel 3/5/7 x expansion 1/3/6.

    jaxcls prepare cifar10
    jaxcls nas --config=nas_cifar10 --workdir=runs/nas-cifar10

TuNAS (Bender et al. 2020, arXiv 2008.06120) on a chain for pictures of 32x32. The figure that introductory articles
give for searched nets of this size is 92.7 %, which is a floor and no success: a plain ResNet-56 of 0.85 million
parameters has more (He et al. 2015: 93.0 %). Meant for a GPU, some hours; not run by us.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` searches among narrow nets for 4 steps, with two random ones of one seed."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "4 steps" if tiny else "100 epochs"
    config.batch_size = 32 if tiny else 512
    config.data.name = "tfds/cifar10"
    config.data.validation = 0.0  # the last state counts: the controller's choice is made at the end
    config.data.augment = ("crop(32, pad=4)", "flip")
    config.data.normalize = "cifar10"
    config.model.name = "mbconv_net"
    config.model.fields = {"stem": "cifar", "first": 8 if tiny else 32, "last": 0 if tiny else 512}
    config.nas.stages = (
        ("mbconv(8, stride=2, kernels=3)", "mbconv(8, times=2, stride=2, kernels=(3, 5), expansions=(1, 2))")
        if tiny
        else (
            "mbconv((32, 48), times=3)",
            "mbconv((64, 96), times=4, stride=2)",
            "mbconv((128, 192), times=4, stride=2)",
        )
    )
    config.nas.rate = 0.003
    config.nas.cost = "params"
    config.nas.target = 1500.0 if tiny else 1.2e6
    config.nas.retrain = "4 steps" if tiny else "200 epochs"
    config.nas.random, config.nas.seeds = (2, 1) if tiny else (8, 3)
    config.nas.asked = 10 if tiny else 200
    config.nas.reference = "" if tiny else "resnet20_cifar"
    config.schedule.peak = 0.2
    config.schedule.warmup = "1 step" if tiny else "5%"
    config.optim.nesterov = True
    config.optim.weight_decay = 1e-4
    config.loss.label_smoothing = 0.1
    return config
