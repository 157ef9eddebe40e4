"""Searches made of numbers: the folders that trials leave, and the records of their study. No training, no Optuna."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxcls.criteria import CLASSIFICATION, Figure
from jaxcls.settings import config_file
from jaxcls.tune import records, space

SPACE = (
    "schedule.peak=log(1e-3,1); batch_size=pow2(32,512); optim.name=choice(sgd,lion); "
    "optim.momentum=linear(0.5,0.99) if optim.name=sgd; model.fields.depth=int(1,3)"
)
ADDS = Figure("multiply_adds", best="min")


@dataclasses.dataclass
class Plan:
    """What records read of a plan (tune.study.Plan)."""

    space: space.Space
    config: Mapping[str, Any]
    sampler: str = "tpe"
    pruner: str = "none"
    seed: int = 0


@dataclasses.dataclass
class Record:
    """What records read of a trial (tune.study.Record)."""

    number: int
    state: str
    params: dict[str, Any]
    values: tuple[float, ...] = ()
    attrs: dict[str, Any] = dataclasses.field(default_factory=dict)


def plan(text=SPACE, name="lenet5_digits"):
    config = config_file.load(name)
    return Plan(space.parse(text), json.loads(json.dumps(config.to_dict())))


def run(folder, curve, *, begun=0.0, count=270, split="validation", every=1.0):
    """The metrics.jsonl of a run that reached these accuracies, `every` epochs apart (ten steps an epoch)."""
    folder.mkdir(parents=True)
    lines = []
    for i, accuracy in enumerate(curve, start=1):
        epoch = i * every
        correct = round(accuracy * count)
        common = {"step": round(10 * epoch), "epoch": epoch, "time": begun + epoch}
        lines.append({**common, "split": "train", "loss": 1.0, "accuracy": accuracy})
        lines.append(
            {**common, "split": split, "loss": 1.0, "accuracy": correct / count, "correct": correct, "count": count}
        )
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def made(folder, n=40, *, failures=0.1, two=False, pruned=0.3, epochs=6, seed=0, text=SPACE):
    """A search of n trials whose accuracy depends on the rate, most of all, and on the batch; returns search.json."""
    rng = np.random.default_rng(seed)
    of = plan(text)
    rows = []
    for number in range(n):
        params, share = {}, rng.random(len(of.space.dimensions))
        for dimension, x in zip(of.space.dimensions, share, strict=True):
            if of.space.active(dimension, params):
                params[dimension.key] = dimension.at(x)
        rate, batch = params.get("schedule.peak", 0.1), params.get("batch_size", 64)
        top = 0.97 - 0.06 * (math.log10(rate) + 1) ** 2 - 0.004 * abs(math.log2(batch / 64)) + rng.normal(0, 0.004)
        top = min(max(top, 0.1), 0.99)
        u, values, attrs = rng.random(), (), {"seconds": float(rng.uniform(5, 30))}
        length = epochs
        state = "complete"
        if u < failures:
            state, length = "failed", int(rng.integers(0, 2))
            attrs["why"] = (
                "the loss is not finite at step 12; no checkpoint was written yet. Lower config.schedule.peak"
            )
        elif u < failures + pruned and not two:
            state, length = "pruned", 2
            attrs["why"] = "below the median of 12 trials after 2 epochs"
        curve = [top - 0.5 * math.exp(-1.1 * (i + 1)) + rng.normal(0, 0.003) for i in range(length)]
        if length:
            run(folder / f"trial-{number}", curve, begun=100.0 * number)
        if state == "complete":
            values = (
                max(curve),
                *((1e5 * params.get("model.fields.depth", 1) * rng.uniform(0.9, 1.1),) if two else ()),
            )
        rows.append(Record(number, state, params, values, attrs))
    objectives = (CLASSIFICATION[0], ADDS) if two else CLASSIFICATION[:1]
    return records.write(
        folder, rows, of, name="lenet5_digits", objectives=objectives, state="done", budget={"trials": n}
    )


def repeat(folder, trial, accuracies, seed=0):
    """A repetition of a trial, tested."""
    path = folder / f"repeat-{trial}" / f"seed-{seed}"
    run(path, accuracies)
    (path / "results.json").write_text(json.dumps({"test": {"accuracy": accuracies[-1] - 0.01}}))
