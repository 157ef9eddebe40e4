"""What numbers of a config may be."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxcls.defaults import flatten

# What a number may be, as an interval: ( and ) leave the end out.
RANGES = {
    "seed": "[0, 4294967295]",
    "batch_size": "[1, inf)",
    "accumulate": "[1, inf)",
    "data.validation": "[0, 1)",
    "data.channels": "[0, 1024]",
    "data.repeats": "[1, inf)",
    "data.imbalance": "[1, inf)",
    "data.device_memory": "[0, inf)",
    "data.workers": "[-1, inf)",
    "data.pack": "[0, inf)",
    "loss.label_smoothing": "[0, 1)",
    "loss.gamma": "[0, inf)",
    "loss.alpha": "(0, inf)",
    "loss.epsilon": "[-1, inf)",
    "loss.gamma_neg": "[0, inf)",
    "loss.gamma_pos": "[0, inf)",
    "loss.clip": "[0, 1)",
    "loss.threshold": "[0, 1)",
    "loss.aux_weight": "[0, inf)",
    "loss.consistency": "[0, inf)",
    "distill.alpha": "[0, 1]",
    "distill.temperature": "(0, inf)",
    "distill.hint_weight": "(0, inf)",
    "ssl.temperature": "(0, inf)",
    "ssl.momentum": "[0, 1]",
    "ssl.queue": "[1, inf)",
    "ssl.scale": "(0, inf)",
    "words.context": "[3, inf)",
    "words.width": "[1, inf)",
    "words.depth": "[1, inf)",
    "few.draw": "[0, inf)",
    "few.ratio": "[1, inf)",
    "few.threshold": "(0, 1]",
    "few.weight": "[0, inf)",
    "few.temperature": "[0, inf)",
    "nas.holdout": "(0, 1)",
    "nas.ratio": "[1, inf)",
    "nas.rate": "(0, inf)",
    "nas.beta": "(-inf, 0]",
    "nas.target": "[0, inf)",
    "nas.asked": "[0, inf)",
    "nas.random": "[2, inf)",
    "nas.seeds": "[1, inf)",
    "monitor.pictures": "[0, inf)",
    "optim.momentum": "[0, 1)",
    "optim.weight_decay": "[0, inf)",
    "optim.clip_norm": "[0, inf)",
    "optim.clip_adaptive": "[0, inf)",
    "optim.b1": "[0, 1)",
    "optim.b2": "[0, 1)",
    "optim.eps": "[0, inf)",
    "optim.trust": "(0, inf)",
    "optim.adam_rate": "(0, inf)",
    "optim.layer_decay": "(0, 1]",
    "optim.lookahead": "[0, inf)",
    "optim.lookahead_alpha": "(0, 1]",
    "optim.lookahead_end": "[0, 1]",
    "optim.sam": "[0, inf)",
    "schedule.peak": "(0, inf)",
    "schedule.final": "[0, inf)",
    "schedule.pct_start": "(0, 1)",
    "schedule.per_batch": "[0, inf)",
    "schedule.warmup_start": "[0, inf)",
    "schedule.power": "(0, inf)",
    "schedule.factor": "(0, 1]",
    "schedule.mult": "[1, inf)",
    "schedule.div_factor": "(0, inf)",
    "schedule.final_div_factor": "(0, inf)",
    "schedule.rest": "[0, inf)",
    "plateau.factor": "(0, 1)",
    "plateau.patience": "[0, inf)",
    "plateau.threshold": "[0, inf)",
    "plateau.cooldown": "[0, inf)",
    "plateau.min_scale": "[0, 1]",
    "early_stopping.patience": "[0, inf)",
    "early_stopping.threshold": "[0, inf)",
    "prune.ratio": "[0, 1)",
    "prune.macs": "[0, 1)",
    "prune.params": "[0, 1)",
    "prune.floor": "[0, 1]",
    "prune.multiple": "[1, inf)",
    "sparsity.bn": "[0, inf)",
    "sparsity.group": "[0, inf)",
    "sparsity.weights": "[0, inf)",
    "sparsity.magnitude": "[0, 1)",
    "ema_decay": "[0, 1)",
    "precise_bn": "[0, inf)",
    "noise_every": "[0, inf)",
    "parallel.devices": "[0, inf)",
    "eval.batch_size": "[0, inf)",
    "checkpoint.keep": "[1, inf)",
}

# Where an interval has no end: counts are int32 on the device, rates float32.
LARGEST = {int: 2**31 - 1, float: float(np.finfo(np.float32).max)}
BYTES = ("data.device_memory",)  # whole numbers that stay on the host
TUPLES = {"data.mean": "[-1000, 1000]", "data.std": "(0, 1000]", "data.split_ratios": "[0, 100]"}  # of each number
WHOLE = (1, 100)  # what shares may sum to, within 1 %


def out_of_range(config: Mapping[str, Any]) -> list[str]:
    """What is wrong with the numbers of a config, a line each; [] if all are possible. NaN never is."""
    values = dict(flatten(config))
    lines = [_line(path, values[path], interval) for path, interval in RANGES.items()]
    for path, interval in TUPLES.items():
        lines += [line for value in values[path] if (line := _line(path, value, interval))][:1]
    lines.append(_shares(values["data.split_ratios"]))
    for path, value in values.items():
        if path not in TUPLES and not all(map(math.isfinite, numbers(value))) and path not in RANGES:
            lines.append(f"config.{path} is {value!r}; its numbers must be finite.")
    return [line for line in lines if line]


def _shares(ratios):
    """The message for split ratios that are no shares of one whole, or percentages; "" if they are."""
    ratios = list(ratios)
    if len(ratios) != 3 or not all(isinstance(x, (int, float)) and 0 <= x <= 100 for x in ratios):
        return ""  # told elsewhere
    if any(abs(sum(ratios) - whole) <= 0.0101 * whole for whole in WHOLE):
        return ""
    parts = ", ".join(f"{x / sum(ratios):.3g}" for x in ratios) if sum(ratios) else "0.7, 0.15, 0.15"
    return f"config.data.split_ratios is {tuple(ratios)}, which sums to {sum(ratios):.4g}; write ({parts})."


def _line(path, value, interval):
    """The message for what is no number inside of the interval; "" for one that is."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"config.{path} holds {repr(value)[:60]}; it must be a number, or numbers."
    low, high = map(float, interval[1:-1].split(","))
    largest = math.inf if path in BYTES else LARGEST[float if isinstance(value, float) else int]
    above = value >= low if interval[0] == "[" else value > low
    below = value <= min(high, largest) if interval[-1] == "]" else value < high and value <= largest
    if above and below:  # NaN is neither
        return ""
    least = f"{'at least' if interval[0] == '[' else 'above'} {low:.0f}"
    most = {"]": f" and at most {high:.0f}", ")": f" and below {high:.0f}" if high < math.inf else ""}[interval[-1]]
    if not most and not math.isfinite(value):
        most = ", and finite"
    elif not most and value > largest:
        most = f" and at most {largest:.4g}" if isinstance(value, float) else f" and at most {largest}"
    shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:40]}..."
    return f"config.{path} is {shown}; it must be {least}{most}."


def numbers(value: Any) -> Iterator[float]:
    """The numbers in a value of a config, however deep in tuples or sections."""
    if hasattr(value, "items"):
        value = [inner for _, inner in value.items()]
    if isinstance(value, (tuple, list)):
        for inner in value:
            yield from numbers(inner)
    elif isinstance(value, float) or (isinstance(value, int) and value.bit_length() < 1000):
        yield value
