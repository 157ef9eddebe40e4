"""Workdirs as runs leave them, written without training: logits, figures, config, metadata, log."""

import json
from pathlib import Path

import numpy as np

from jaxcls import metrics


def write(folder, splits, *, step=10, classes=None, config=None, fingerprint="f0", ids=None, lines=(), best="test"):
    """A workdir with the logits of its splits at one step.

    Args:
      folder: made here.
      splits: name -> (logits, label).
      step: of the logits and the checkpoint.
      classes: names; default a0, a1, ..
      config: merged over {"seed": 0, "data": {"name": "digits"}}.
      fingerprint: of the data, in the checkpoint's metadata.
      ids: split -> names of its rows, or None for none.
      lines: of metrics.jsonl.
      best: the split of results.json; None for no such file.

    Returns:
      The folder.
    """
    folder = Path(folder)
    (folder / "eval").mkdir(parents=True)
    for split, (logits, label) in splits.items():
        index = np.arange(len(label), dtype=np.int32)
        np.savez(folder / "eval" / f"{split}-{step}.npz", logits=np.asarray(logits, np.float32),
                 label=np.asarray(label, np.int32), index=index)  # fmt: skip
        if ids and split in ids:
            put(folder / "eval" / f"{split}-rows.json", {"id": list(ids[split]), "columns": {}})
        if split == best:
            put(folder / "results.json", {split: {**metrics.of_logits(logits, label), "step": step}})
    width = np.shape(next(iter(splits.values()))[0])[1]
    config = {"seed": 0, "data": {"name": "digits"}} | (config or {})
    meta = {"step": step, "classes": classes or [f"a{i}" for i in range(width)], "config": config, "parameters": 1234,
            "data": {"name": config["data"]["name"], "fingerprint": fingerprint},
            "versions": {"jax": "0.10.2", "device": "cpu", "cores": 2}}  # fmt: skip
    put(folder / "checkpoints" / str(step) / "meta" / "metadata", meta)
    put(folder / "config.json", config)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def put(path, value):
    """Writes JSON, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def draw(n, classes, seed=0, ahead=2.0):
    """(float32 logits [n, classes], labels), every class there, the right one ahead of noise."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % classes
    logits = rng.normal(size=(n, classes)).astype(np.float32)
    logits[np.arange(n), label] += ahead
    return logits, label
