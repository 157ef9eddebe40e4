"""What the folds of a k-fold run have predicted, put together in `eval/` of the workdir above them. Without JAX.

Where each fold held out other pictures, their predictions stand one after the other: every picture once, told by a
network that has not seen it. Where all have the same pictures (a test split of the set's own), the probabilities of all
folds are averaged, as `predict.folds` does it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxcls import files, metrics, set_metrics
from jaxcls.checkpoints.folds import STEP
from jaxcls.data import stored_splits
from jaxcls.measure import decision, stored
from jaxcls.measure.multilabel import answers
from jaxcls.measure.multilabel import decision as set_decision
from jaxcls.predict import written
from jaxcls.types import Figures, PathLike

SPLITS = ("validation", "test")  # in this order: test is averaged by what was calibrated on validation


def pool(workdir: PathLike, folds: Sequence[Path], steps: Sequence[int]) -> dict[str, Figures]:
    """Writes `eval/<split>-0.npz` with its rows and figures, and `calibration/0.json`.

    Args:
      workdir: of the k-fold run.
      folds: the workdirs of its folds.
      steps: of each, the step that its result is of.

    Returns:
      split -> figures, "step" among them; test first. Splits without logits are left out.

    Raises:
      UserError: where a file is damaged or can't be written.
    """
    found: dict[str, Figures] = {}
    for split in SPLITS:
        if not all(stored.logits_path(f, split, s).is_file() for f, s in zip(folds, steps, strict=True)):
            continue
        if not all(stored.has_logits(f, split, s) for f, s in zip(folds, steps, strict=True)):
            continue
        parts = [stored.read_answers(f, split, s) for f, s in zip(folds, steps, strict=True)]
        names = [_names(fold, split, part) for fold, part in zip(folds, parts, strict=True)]
        if all(each is not None and each == names[0] for each in names):
            found[split] = _averaged(workdir, split, parts, names[0])
        else:
            found[split] = _stacked(workdir, split, parts, names)
        if split == decision.SPLIT:
            (set_decision if parts[0].sets else decision).fit_run(workdir, STEP)
    return {split: found[split] for split in reversed(SPLITS) if split in found}


def _names(fold, split, part) -> list[str] | None:
    """What the evaluated rows of a fold are called; None where nothing says it."""
    rows = files.read_json(fold / "eval" / f"{split}-rows.json") or {}
    names = rows.get("id")
    if not names:
        own = stored_splits.read(fold)
        names = own.parts[split].ids if own is not None and split in own.parts else ()
    return [str(names[row]) for row in part.rows] if len(names) > part.rows.max(initial=-1) else None


def averaged(
    logits: Sequence[Float[np.ndarray, "n classes"]], decided: decision.Decision | None, *, sets: bool
) -> Float[np.ndarray, "n classes"]:
    """Logits, float32, whose calibrated probabilities are the mean of those of some networks.

    Args:
      logits: of each network.
      decided: the calibration that all have in common; None: as they are.
      sets: whether each class is a question by itself (`measure.multilabel`).
    """
    stated = answers.probabilities if sets else lambda z, decided: decision.probabilities(decided, z)
    mean = np.mean([stated(z, decided) for z in logits], axis=0)
    tiny = np.finfo(np.float64).tiny
    if not sets:
        return (np.log(np.maximum(mean, tiny)) * (decided["temperature"] if decided else 1.0)).astype(np.float32)
    z = np.log(np.maximum(mean, tiny)) - np.log(np.maximum(1 - mean, np.finfo(np.float64).epsneg))
    if decided:
        z = (z - np.asarray(decided["bias"], np.float64)) / np.asarray(decided["scale"], np.float64)
    return z.astype(np.float32)


def _averaged(workdir, split, parts, names):
    """Of pictures that all folds have, in the order of the first."""
    decided = decision.read(workdir, STEP)
    logits = averaged([part.logits for part in parts], decided, sets=parts[0].sets)
    return _write(workdir, split, logits, parts[0].label, names, {})


def _stacked(workdir, split, parts, names):
    """Of pictures that each fold has for itself, one fold after the other."""
    logits, label = (np.concatenate([getattr(part, key) for part in parts]) for key in ("logits", "label"))
    fold = [i + 1 for i, part in enumerate(parts) for _ in part.label]
    known = all(each is not None for each in names)
    flat = [name for each in names for name in each] if known else [f"fold {i}" for i in fold]
    return _write(workdir, split, logits, label, flat, {"fold": [str(i) for i in fold]})


def _write(workdir, split, logits, label, names, columns: dict[str, Any]):
    outputs = {"logits": logits, "label": label, "index": np.arange(len(label), dtype=np.int32)}
    measure = set_metrics.of_sets if label.ndim == 2 else metrics.of_logits
    figures = measure(logits, label)
    written.save(workdir, split, STEP, outputs, figures)
    rows = {"id": names, "columns": columns, "fingerprint": ""}
    files.write_json(Path(workdir) / "eval" / f"{split}-rows.json", rows)
    return {**figures, "step": STEP}
