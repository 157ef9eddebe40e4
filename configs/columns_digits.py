"""Digits and a bit beside each: the class is whether the digit is odd or the bit is set, but not both. 15 s an epoch.

    jaxcls train --config=columns_digits --data=table//tmp/digits/digits.csv --workdir=runs/columns

A check of config.data.columns (docs/columns.md): neither the picture nor the bit says anything of the class, both
together all of it. scripts/bench/columns_table.py makes the table of MNIST and trains the arms: `:picture` looks at the
picture alone, `:column` at the bit and a grey square. One CPU core; 97.9 % of both, 49 and 52 % of either alone
(docs/results.md).
"""

from jaxcls.defaults import default_config, parse_tiny

ARMS = ("picture", "column")


def get_config(arg=""):
    """`:tiny` trains for 4 steps; `:picture` and `:column` are the arms with one of the two."""
    arm = arg if arg in ARMS else ""
    tiny = parse_tiny("" if arm else arg)
    config = default_config()
    config.duration = "4 steps" if tiny else "6 epochs"
    config.batch_size = 16 if tiny else 64
    config.data.name = "table/digits.csv"
    config.data.columns = () if arm == "picture" else ("bit:category",)
    config.data.channels = 1
    config.data.augment = ("resize(28, 28)",)
    config.data.eval_transform = ("resize(28, 28)",)
    if arm == "column":
        config.data.mean, config.data.std = (0.5,), (1000.0,)  # next to nothing is left of the picture
    else:
        config.data.normalize = "mnist"
    config.model.name = "lenet5"
    config.optim.name = "adamw"
    config.optim.weight_decay = 0.01
    config.schedule.peak = 2e-3
    config.schedule.warmup = "" if tiny else "5%"
    return config
