"""Architecture search on Fashion-MNIST, for two cores: nine blocks of kernel 3/5/7 x expansion 1/3/6, or skipped.

    jaxcls prepare fashion_mnist
    jaxcls nas --config=nas_fashion --workdir=runs/nas

TuNAS (Bender et al. 2020, arXiv 2008.06120) on a small chain: a supernet with a controller, whose choice is trained
from scratch beside 8 random nets of no more multiply-adds and ResNet-20. docs/nas.md goes through it.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` searches among 50 nets for seconds, with two random ones of one seed."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "8 steps" if tiny else "12 epochs"
    config.batch_size = 32 if tiny else 128
    config.data.name = "tfds/fashion_mnist"
    config.data.validation = 0.0  # the last state counts: the controller's choice is made at the end
    config.data.augment = ("crop(28, pad=2)", "flip")
    config.data.normalize = "fashion_mnist"
    config.model.name = "mbconv_net"
    config.model.fields = {"stem": "imagenet", "first": 8 if tiny else 16, "last": 0 if tiny else 128}
    config.nas.stages = (
        ("mbconv(8, kernels=(3, 5), expansions=(1, 2))", "mbconv((8, 12), stride=2, kernels=(3, 5), expansions=(1, 2))")
        if tiny
        else ("mbconv((16, 24), times=2)", "mbconv((24, 40), times=4, stride=2)", "mbconv((40, 64), times=3, stride=2)")
    )
    config.nas.rate = 0.005
    config.nas.target = 60e3 if tiny else 3e6
    config.nas.retrain = "4 steps" if tiny else "6 epochs"
    if tiny:
        config.nas.random, config.nas.seeds, config.nas.reference = 2, 1, ""
        config.nas.asked = 10
    config.schedule.peak = 0.05
    config.schedule.warmup = "1 step" if tiny else "5%"
    config.optim.nesterov = True
    config.optim.weight_decay = 4e-5
    config.loss.label_smoothing = 0.0 if tiny else 0.1
    return config
