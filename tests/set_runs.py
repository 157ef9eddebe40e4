"""Workdirs as runs leave them whose labels are sets, made of numbers: no training, no model."""

import json

import numpy as np
import workdirs

from jaxcls import set_metrics
from jaxcls.criteria import Figure
from jaxcls.defaults import default_config

CRITERIA = (Figure("mAP", share=True), Figure("f1", share=True), Figure("loss", best="min"))


def draw(n=400, classes=5, seed=0, ahead=2.0, scale=1.0, bias=0.0, rarest=0.05):
    """(float32 logits, uint8 labels [n, classes]) of frequencies from 40 % down to `rarest`. The right ones are ahead
    of noise by so much; logits are what is honest times `scale` plus `bias`."""
    rng = np.random.default_rng(seed)
    frequency = np.geomspace(0.4, rarest, classes)
    label = (rng.random((n, classes)) < frequency).astype(np.uint8)
    # of two normals that far apart the log-likelihood ratio is linear in the score: these logits are calibrated
    score = rng.normal(size=(n, classes)) + ahead * label
    honest = ahead * score - ahead**2 / 2 + np.log(frequency / (1 - frequency))
    return (scale * honest + bias).astype(np.float32), label


def make_run(
    folder, splits=None, *, classes=None, step=20, seed=0, columns=None, config=None, best="test", fingerprint="f0"
):
    """A workdir of a run on sets.

    Args:
      folder: made here.
      splits: name -> (logits, labels); default validation and test by `draw`.
      classes: names.
      step: of the logits and the checkpoint.
      seed: of the config.
      columns: name -> values of the rows of every split, for eval/<split>-rows.json.
      config: flat keys that the config has.
      best: the split of results.json; None for no such file.
      fingerprint: of the data.

    Returns:
      {split: (logits, labels)}.
    """
    splits = splits if splits is not None else {"validation": draw(), "test": draw(seed=1)}
    width = next(iter(splits.values()))[0].shape[1] if splits else 3
    names = classes or [f"class {c}" for c in range(width)]
    (folder / "eval").mkdir(parents=True)
    results = {}
    for split, (logits, label) in splits.items():
        np.savez(folder / "eval" / f"{split}-{step}.npz", logits=logits, label=label, index=np.arange(len(label)))
        rows = {"id": [f"{split}/{i}.png" for i in range(len(label))], "columns": columns or {}}
        workdirs.put(folder / "eval" / f"{split}-rows.json", rows)
        results[split] = {**set_metrics.of_sets(logits, label), "step": step}
    if best in results:
        workdirs.put(folder / "results.json", {best: results[best]})
    settings = default_config()
    settings.data.name, settings.model.name = "folder/pictures", "resnet18"
    settings.duration, settings.seed = f"{step} steps", seed
    for key, value in (config or {}).items():
        settings.update_from_flattened_dict({key: value})
    settings = json.loads(json.dumps(settings.to_dict()))
    meta = {
        "step": step,
        "classes": names,
        "config": settings,
        "parameters": 1234,
        "data": {"name": "folder/pictures", "fingerprint": fingerprint},
        "versions": {"jax": "0.10.2", "device": "cpu", "cores": 2},
        "figures": [figure._asdict() for figure in CRITERIA],
        "version": 2,
    }
    workdirs.put(folder / "checkpoints" / str(step) / "meta" / "metadata", meta)
    workdirs.put(folder / "config.json", settings)
    lines = [
        {"step": s, "split": split, "epoch": s / 5, "time": 1e9 + s, "loss": 1 / s, "mAP": 1 - 1 / s,
         "pictures_per_second": 99.0}
        for s in range(2, step + 1, 2) for split in ("train", "validation")
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return splits
