"""Features of a run's pictures, for `jaxcls calibrate --outliers`: data and model are opened again."""

import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls.cli import devices, run_config
from jaxcls.errors import UserError
from jaxcls.measure import outliers
from jaxcls.measure.outliers import Bank

BATCH = 32


def make(
    workdir: Path, step: int, accepted: float, most: int, splits: Mapping[str, Any], seed: int = 0
) -> tuple[Bank, dict[str, Any]]:
    """The bank of training features, and what the decision stores about distances (measure.decision).

    Args:
      workdir, step: of the run.
      accepted: share of validation pictures that are no outliers.
      most: pictures of each split at most, drawn by the seed.
      splits: whose distances are looked at besides: validation, and test where it is there.

    Raises:
      UserError: where data or model can't be opened, or the model gives no features.
    """
    config = run_config.stored(workdir)
    devices.set_up()
    from jaxcls.predict.predictor import Predictor
    from jaxcls.settings.reader import Reader, resolve
    from jaxcls.training import data, same_run

    names = ["train", *splits]
    opened = data.read(Reader(resolve(config)), trains=False, workdir=workdir)
    same_run.check_opened(opened, workdir, step, names)
    predictor = Predictor.load(workdir, step, sizes=(BATCH,))
    found = {}
    for name in names:
        if name not in opened.sources:
            raise UserError(f"--outliers: the data has no split {name} any more; give --outliers=energy")
        found[name] = features(predictor, opened.sources[name], name, most, seed)
    bank = outliers.bank(found["train"])
    distances = {name: outliers.distance(bank, found[name]) for name in splits}
    threshold = outliers.limit(distances["validation"], accepted)
    about: dict[str, Any] = {
        "threshold": threshold,
        "k": bank.k,
        "count": len(bank.features),
        "validation": len(found["validation"]),
    }
    about["sha256"] = outliers.digest(bank)
    if "test" in splits:
        inside = distances["test"] <= threshold
        about["test"] = {"count": len(inside), "accepted": int(inside.sum())}
    return bank, about


def features(predictor: Any, source: Any, split: str, most: int, seed: int) -> np.ndarray:
    """float32 [n, d] of at most so many pictures of a source, as evaluation sees them; what can't be read is told.

    Raises:
      UserError: where none of them can be used.
    """
    chosen = np.arange(len(source))
    if len(source) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(len(source), most, replace=False))
    host, inputs = predictor.network.preprocessing.host, getattr(predictor.network.model, "inputs", ())

    def read(row):
        try:
            item = source[int(row)]
            return (host(item["image"], item["id"], None), *(item[name] for name in inputs))
        except UserError as error:
            return error

    parts, problems = [], []
    print(f"features of {len(chosen):,} pictures of {split} ...", file=sys.stderr, flush=True)
    with ThreadPoolExecutor(max_workers=4) as pool:
        for start in range(0, len(chosen), BATCH):
            pictures = list(pool.map(read, chosen[start : start + BATCH]))
            problems += [picture for picture in pictures if isinstance(picture, UserError)]
            good = [picture for picture in pictures if not isinstance(picture, UserError)]
            if good:
                parts.append(predictor.features(*map(np.stack, zip(*good, strict=True))))
    found = np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
    finite = np.isfinite(found).all(axis=1)
    if not finite.any():
        raise UserError(f"--outliers: no picture of {split} has features that are finite; give --outliers=energy")
    if problems:
        print(f"{len(problems):,} pictures of {split} are left out, first {problems[0]}", file=sys.stderr, flush=True)
    return found[finite]
