"""Architecture search among 125 small nets on Fashion-MNIST, all of which docs/results.md has trained: minutes.

    jaxcls prepare fashion_mnist
    jaxcls nas --config=nas_small --workdir=runs/nas-small

Three blocks of kernel 3 or 7 and expansion 1 or 6, or skipped, with fixed ones between that halve the picture: the
space of docs/bench/nas_table.jsonl. The nets are trained for 470 steps, and differ by less than two points mostly.
"""

from jaxcls.defaults import default_config, parse_tiny

STAGES = (
    "mbconv(4, kernels=(3, 7), expansions=(1, 6))",
    "mbconv(8, stride=2, kernels=3, expansions=1, skip=False)",
    "mbconv(8, kernels=(3, 7), expansions=(1, 6))",
    "mbconv(16, stride=2, kernels=3, expansions=1, skip=False)",
    "mbconv(16, kernels=(3, 7), expansions=(1, 6))",
)


def get_config(arg=""):
    """`:tiny` takes 8 steps, and 4 of each net."""
    tiny = parse_tiny(arg)
    config = default_config()
    config.duration = "8 steps" if tiny else "1500 steps"
    config.batch_size = 32 if tiny else 96
    config.data.name = "tfds/fashion_mnist"
    config.data.validation = 0.0  # the last state counts: the controller's choice is made at the end
    config.data.normalize = "fashion_mnist"
    config.eval.batch_size = 400
    config.model.name = "mbconv_net"
    config.model.fields = {"first": 4, "last": 0, "stem": "imagenet"}
    config.nas.stages = STAGES
    config.nas.holdout = 0.2
    config.nas.ratio = 3 if tiny else 2
    config.nas.rate = 0.01  # a short run: TuNAS's rate is for some ten thousand steps
    config.nas.retrain = "4 steps" if tiny else "470 steps"
    config.nas.asked = 10 if tiny else 60
    config.nas.reference = ""
    if tiny:
        config.nas.random, config.nas.seeds = 2, 1
    config.schedule.peak = 0.2
    config.schedule.warmup = "" if tiny else "20%"
    config.optim.nesterov = True
    config.optim.weight_decay = 1e-4
    return config
