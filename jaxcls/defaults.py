"""Every config key with its default. A config starts from here, so a misspelt key fails where it is written.

    from jaxcls.defaults import default_config

    def get_config(arg=""):
        config = default_config()
        config.model.name = "resnet50"
        ...
        return config

Durations are written "500 steps", "90 epochs" or "5%" (of the run).
"""

import difflib

from ml_collections import ConfigDict

from jaxcls.errors import UserError

# What a number may be, as an interval: ( and ) leave the end out.
RANGES = {
    "seed": "[0, 4294967295]",
    "batch_size": "[1, inf)",
    "accumulate": "[1, inf)",
    "data.validation": "[0, 1)",
    "data.device_memory": "[0, inf)",
    "data.workers": "[0, inf)",
    "loss.label_smoothing": "[0, 1)",
    "loss.aux_weight": "[0, inf)",
    "optim.momentum": "[0, 1)",
    "optim.weight_decay": "[0, inf)",
    "optim.clip_norm": "[0, inf)",
    "schedule.peak": "(0, inf)",
    "schedule.final": "[0, inf)",
    "schedule.pct_start": "(0, 1)",
    "ema_decay": "[0, 1)",
    "parallel.devices": "[0, inf)",
    "eval.batch_size": "[0, inf)",
    "checkpoint.keep": "[1, inf)",
}


def default_config():
    """A locked `ConfigDict` with all keys."""
    config = ConfigDict()
    config.seed = 0
    config.duration = "10 epochs"
    config.batch_size = 128  # of all devices together
    config.accumulate = 1  # micro-batches a step; BatchNorm sees one at a time
    config.precision = "float32"  # of the computation: float32, bfloat16, float16; parameters and logits stay float32

    config.data = data = ConfigDict()
    data.name = "digits"  # digits, tfds/<name>, folder/<path>, synthetic/<n>x<size>x<channels>x<classes>
    data.dir = ""  # of tensorflow-datasets; "" is its own default
    data.validation = 0.1  # share of train held out where a set has no validation split; 0: none, the last state counts
    data.split_ratios = (0.7, 0.15, 0.15)  # train, validation, test of a set that has no splits
    data.channels = 0  # 1 grey, 3 colour; 0: as they are in sets kept in memory, 3 for picture files
    data.augment = ()  # training, in order, e.g. ("random_resized_crop(224)", "flip")
    data.eval_transform = ()  # evaluation, e.g. ("resize(256)", "center_crop(224)")
    data.normalize = "unit"  # unit [0, 1], symmetric [-1, 1], imagenet, cifar10, cifar100, mnist, fashion_mnist
    data.mean = ()  # in place of normalize: one value, or one a channel, on the scale of [0, 1]
    data.std = ()
    data.device_memory = 2**30  # bytes up to which a set of pictures in memory is kept on the device; 0: always stream
    data.workers = 0  # reading processes; 0: threads of this process

    config.model = model = ConfigDict()
    model.name = "lenet5"
    model.fields = ConfigDict()  # further fields of the model, e.g. {"stem": "cifar"}
    model.fields.unlock()
    model.neck = ""  # fpn: a feature pyramid between the model and its classifier
    model.pretrained = ""  # weights to start from: a file of safetensors or PyTorch, or hf-hub:ORG/NAME

    config.loss = loss = ConfigDict()
    loss.label_smoothing = 0.0
    loss.aux_weight = 0.3  # of the loss of each auxiliary classifier, where the model has any

    config.optim = optim = ConfigDict()
    optim.name = "sgd"
    optim.momentum = 0.9
    optim.nesterov = False
    optim.weight_decay = 0.0  # L2, added to the gradient before the momentum
    optim.decay_mask = ("kernel$",)  # parameters that decay, by regular expressions on their names
    optim.clip_norm = 0.0

    config.schedule = schedule = ConfigDict()
    schedule.name = "cosine"  # constant, cosine, one_cycle
    schedule.peak = 0.1  # learning rate
    schedule.warmup = ""  # duration of a linear warm-up (not for one_cycle)
    schedule.final = 0.0  # learning rate at the end of cosine
    schedule.pct_start = 0.3  # of one_cycle: share of the run before the peak
    schedule.cycle_momentum = True  # of one_cycle: from 0.95 down to 0.85 and back, in place of optim.momentum

    config.ema_decay = 0.0  # 0: no average

    config.parallel = parallel = ConfigDict()
    parallel.mode = "jit"  # jit or pmap
    parallel.devices = 0  # 0: all
    parallel.sync_batchnorm = True  # pmap only; under jit BatchNorm always sees the global batch

    config.eval = evaluation = ConfigDict()
    evaluation.every = "1 epoch"
    evaluation.batch_size = 0  # 0: that of training

    config.checkpoint = checkpoint = ConfigDict()
    checkpoint.every = "1 epoch"
    checkpoint.keep = 2  # newest ones; the best one is kept besides

    config.log_every = "50 steps"
    return config.lock()


def parse_tiny(arg):
    """True for the argument "tiny" (`--config=configs/x.py:tiny`), False for none.

    Raises:
      UserError: for another argument.
    """
    if arg not in ("", None, "tiny"):
        raise UserError(f"this config takes the argument ':tiny' or none, not ':{arg}'.")
    return arg == "tiny"


def flatten(config, prefix=""):
    """(path, value) of every key of a config, sections joined by dots; `model.fields` counts as one value."""
    for key, value in config.items():
        if hasattr(value, "keys") and f"{prefix}{key}" != "model.fields":
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def unknown_key(path):
    """The message for a path such as "optim.momentun" that is no key, with the nearest one."""
    node, section, keys = default_config(), "config", path.split(".")
    while keys[0] in node and hasattr(node[keys[0]], "keys"):
        section += f".{keys[0]}"
        node = node[keys.pop(0)]
    paths = {key.rpartition(".")[2]: f"config.{key}" for key, _ in flatten(default_config())}
    if near := difflib.get_close_matches(keys[0], list(node), 1):
        hint = f"did you mean {'.'.join([section, near[0], *keys[1:]])}?"
    elif near := difflib.get_close_matches(keys[-1], list(paths), 1, cutoff=0.8):
        hint = f"did you mean {paths[near[0]]}?"
    else:
        hint = f"{section} has {', '.join(node)}."
    return f"config.{path} does not exist; {hint}"


def out_of_range(config):
    """What is wrong with the numbers of a config, a line each; [] if all are possible."""
    values, problems = dict(flatten(config)), []
    for path, interval in RANGES.items():
        value, (low, high) = values[path], map(float, interval[1:-1].split(","))
        above = value >= low if interval[0] == "[" else value > low
        below = value <= high if interval[-1] == "]" else value < high
        if not (above and below):  # NaN is neither
            least = f"{'at least' if interval[0] == '[' else 'above'} {low:.0f}"
            most = {"]": f" and at most {high:.0f}", ")": f" and below {high:.0f}" if high < float("inf") else ""}
            finite = ", and finite" if value != value or abs(value) == float("inf") else ""
            problems.append(f"config.{path} is {value!r}; it must be {least}{most[interval[-1]]}{finite}.")
    return problems
