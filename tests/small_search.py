"""A small architecture search for tests: 50 nets, drawn pictures."""

from jaxcls.defaults import default_config
from jaxcls.settings import config_file

STAGES = (
    "mbconv(8, kernels=(3, 5), expansions=(1, 2))",
    "mbconv((8, 12), stride=2, kernels=(3, 5), expansions=(1, 2))",
)
CHOICE = (4, 1, 3)  # skip, 12 wide, 5x5 e2


def config(**given):
    made = default_config()
    made.data.name, made.batch_size, made.duration = "synthetic/96x12x1x3", 32, "4 steps"
    made.model.name, made.model.fields = "mbconv_net", {"stem": "cifar", "first": 8, "last": 0}
    made.nas.stages, made.nas.random, made.nas.seeds, made.nas.reference = STAGES, 3, 2, "lenet5"
    made.nas.asked = 0
    made.data.augment = made.data.eval_transform = ("resize(28)",)
    for key, value in given.items():
        config_file.override(made, [(key.replace("__", "."), str(value))])
    return made
