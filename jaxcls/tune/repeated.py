"""What the repetitions of the best trials with other seeds have come to, from their folders."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls.criteria import Figure
from jaxcls.files import read_json
from jaxcls.logs.records import read_metrics

FOLDER = re.compile(r"repeat-(\d+)")
SEED = re.compile(r"seed-(\d+)")


def repeats(folder: Path, objective: Figure) -> list[dict[str, Any]]:
    """What each trial's repetitions reached, by the trials' numbers: as search.json has it.

    Each has `trial`, `seeds`, `validation` (the best value of each seed; None where there is none) and, once any has
    been measured on test, `test`: {the figure: a value of each seed, "interval": 95 % of the mean}.
    """
    found = []
    for trial, path in _numbered(folder, FOLDER):
        runs = _numbered(path, SEED)
        values = [_validation(run, objective) for _, run in runs]
        entry: dict[str, Any] = {"trial": trial, "seeds": [seed for seed, _ in runs], "validation": values}
        tested = [((read_json(run / "results.json") or {}).get("test") or {}).get(objective.name) for _, run in runs]
        if any(value is not None for value in tested):
            known = [value for value in tested if value is not None]
            entry["test"] = {objective.name: tested, "interval": mean_interval(known, share=objective.share)}
        found.append(entry)
    return found


def mean_interval(values: list[float], *, share: bool = False) -> list[float] | None:
    """95 % of the mean over seeds by Student's t, that of a share within 0 and 1; None of fewer than two values, and
    of equal ones, which say nothing about how far seeds lie apart."""
    n = len(values)
    if n < 2 or len(set(values)) == 1:
        return None
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, 0.975) * np.std(values, ddof=1) / math.sqrt(n))
    mean = float(np.mean(values))
    ends = [mean - half, mean + half]
    return [max(ends[0], 0.0), min(ends[1], 1.0)] if share else ends


def _validation(run, objective):
    lines = [line for line in read_metrics(run) if line.get("split") == "validation"]
    values = [line[objective.name] for line in lines if math.isfinite(line.get(objective.name, math.nan))]
    return (max if objective.best == "max" else min)(values, default=None)


def _numbered(folder, pattern):
    """(number, path) of the folders of such a name, by number."""
    paths = folder.iterdir() if folder.is_dir() else ()
    matches = [(pattern.fullmatch(path.name), path) for path in paths if path.is_dir()]
    return sorted((int(match[1]), path) for match, path in matches if match)
