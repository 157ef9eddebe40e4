"""Runs to write reports of, made of numbers: no training, no model."""

import json

import numpy as np
import workdirs

from jaxcls.defaults import default_config


def make_run(folder, *, n=60, classes=3, names=None, seed=0, change=None, splits=("test", "validation"), step=20):
    """A workdir (workdirs.write); `change(logits, label)` spoils the predictions of a split.

    Returns {split: (logits, label)}.
    """
    rng = np.random.default_rng(seed)
    predictions = {}
    for split in splits:
        label = np.concatenate([np.arange(classes), rng.integers(0, classes, max(0, n - classes))])[:n]
        logits = rng.normal(size=(n, classes))
        logits[np.arange(n), label] += 2
        if change:
            logits, label = change(logits, label)
        predictions[split] = logits.astype(np.float32), label.astype(np.int32)
    config = default_config()
    config.data.name, config.model.name = "folder/pictures", "resnet18"
    config.duration = f"{step} steps"
    lines = [
        {
            "step": s,
            "split": "train",
            "epoch": s / 5,
            "time": 1e9 + s,
            "loss": 2 / s,
            "accuracy": 1 - 1 / s,
            "pictures_per_second": 99.0,
        }
        for s in range(2, step + 1, 2)
    ]
    if "validation" in splits:
        lines += [
            {
                "step": s,
                "split": "validation",
                "epoch": s / 5,
                "time": 1e9 + s,
                "loss": 3 / s,
                "accuracy": 1 - 2 / s,
                "pictures_per_second": 500.0,
            }
            for s in range(10, step + 1, 10)
        ]
    workdirs.write(
        folder,
        predictions or {"none": (np.zeros((1, classes)), np.zeros(1, int))},
        step=step,
        classes=names or [f"class {i}" for i in range(classes)],
        config=json.loads(json.dumps(config.to_dict())),
        lines=lines,
        best=splits[0] if splits else None,
    )
    return predictions
