"""What somebody may have meant by a key that does not exist."""

from jaxcls.defaults import default_config, flatten
from jaxcls.errors import did_you_mean, listed

# What other tools call it -> the key here.
ELSEWHERE = {
    "lr": "schedule.peak",
    "learning_rate": "schedule.peak",
    "base_lr": "schedule.peak",
    "lr0": "schedule.peak",
    "max_lr": "schedule.peak",
    "min_lr": "schedule.final",
    "lr_scheduler": "schedule.name",
    "scheduler": "schedule.name",
    "warmup_epochs": "schedule.warmup",
    "warmup_steps": "schedule.warmup",
    "epochs": "duration",
    "num_epochs": "duration",
    "n_epochs": "duration",
    "max_epochs": "duration",
    "steps": "duration",
    "max_steps": "duration",
    "num_steps": "duration",
    "batch": "batch_size",
    "bs": "batch_size",
    "gradient_accumulation_steps": "accumulate",
    "accum_steps": "accumulate",
    "dataset": "data.name",
    "data_path": "data.name",
    "num_workers": "data.workers",
    "img_size": "data.augment",
    "image_size": "data.augment",
    "input_size": "data.augment",
    "architecture": "model.name",
    "arch": "model.name",
    "backbone": "model.name",
    "net": "model.name",
    "weights": "model.pretrained",
    "dropout": "model.fields.dropout",
    "drop_rate": "model.fields.dropout",
    "momentum": "optim.momentum",
    "optimizer": "optim.name",
    "optimiser": "optim.name",
    "opt": "optim.name",
    "wd": "optim.weight_decay",
    "grad_clip": "optim.clip_norm",
    "criterion": "loss.name",
    "smoothing": "loss.label_smoothing",
    "class_weights": "loss.class_weight",
    "amp": "precision",
    "fp16": "precision",
    "dtype": "precision",
    "ema": "ema_decay",
    "gpus": "parallel.devices",
    "random_seed": "seed",
}


def unknown_key(path: str) -> str:
    """The message for a path such as "optim.momentun" that is no key, with the one that was meant or is nearest."""
    node, section, keys = default_config(), "config", path.split(".")
    while keys[0] in node and hasattr(node[keys[0]], "keys") and keys[1:]:
        section += f".{keys[0]}"
        node = node[keys.pop(0)]
    here = {key: ".".join([section, key, *keys[1:]]) for key in node}
    anywhere = {key.rpartition(".")[2]: f"config.{key}" for key, _ in flatten(default_config())}
    last = keys[-1]
    if keys[0] in node:  # a key, and something below it
        return f"config.{path} does not exist; {section}.{keys[0]} is a value and has no keys."
    meant = f"config.{ELSEWHERE[last]}" if last in ELSEWHERE else ""
    if not meant and last in anywhere and last != "name" and not did_you_mean(keys[0], here, cutoff=0.85):
        meant = anywhere[last]
    hint = f"; did you mean {meant!r}?" if meant else did_you_mean(keys[0], here)
    hint = hint or did_you_mean(last, anywhere, cutoff=0.8)
    return f"config.{path[:80]} does not exist{hint or f'; {section} has {listed(node)}.'}"


def section(path: str, keys: list[str], text: str) -> str:
    """The message for a whole section that is given one value."""
    if "name" in keys:
        return f"--config.{path} is a section; write --config.{path}.name={text[:80]}, or set another of its keys."
    first = "figure" if "figure" in keys else keys[0] if keys else ""
    inside = f"config.{path}.{first}" if keys else f"config.{path}.<field>"
    return f"--config.{path} is a section; set one of its keys, such as --{inside}=..."
