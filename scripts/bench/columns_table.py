"""Whether a net learns what a picture and a column of a table say only together: MNIST and a bit beside each digit.

    python scripts/bench/columns_table.py --data-dir DIR --work /tmp/digits both picture column
    python scripts/bench/columns_table.py --data-dir DIR --work /tmp/digits --list

The first 12,000 training digits and 4,000 of the test digits get a bit each, drawn at random, and the class `yes` where
the digit is odd or the bit is set, but not both. A net of the picture alone, or of the bit alone, can't be right more
often than by chance. Three seeds each (of weights and order; the table is one).
"""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _arms
import numpy as np

from jaxcls.cli.entry import entry_point

ARMS = ("both", "picture", "column")
SEEDS = (0, 1, 2)
COUNTS = {"train": 12_000, "test": 4_000}


def write(work: Path, data_dir: Path) -> None:
    """Writes the pictures and digits.csv."""
    from PIL import Image

    from jaxcls.data import sources

    if (work / "digits.csv").exists():
        return
    found: Any = sources.find("tfds/mnist", data_dir=str(data_dir))
    rng, rows = np.random.default_rng(0), []
    for split, count in COUNTS.items():
        source = found[split]
        (work / split).mkdir(exist_ok=True)
        for i in range(count):
            bit, odd = int(rng.integers(2)), int(source.labels[i]) % 2
            path = f"{split}/{i:05}.png"
            Image.fromarray(source.images[i][..., 0]).save(work / path)
            rows.append((path, ("no", "yes")[bit ^ odd], bit, split))
    with open(work / "digits.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "bit", "split"), *rows])


def commands(arm: str, work: Path) -> list[list[str]]:
    """What an arm runs: arguments of jaxcls, a seed each."""
    config = "columns_digits" if arm == "both" else f"columns_digits:{arm}"
    return [
        ["train", f"--config={config}", f"--data=table/{work}/digits.csv", f"--workdir={work}/{arm}-{seed}",
         f"--config.seed={seed}"] for seed in SEEDS
    ]  # fmt: skip


def told(work: Path, arm: str) -> dict[str, Any]:
    """Of an arm that ended: test accuracies, their mean and deviation; and what is owed to picture and column."""
    found = [json.loads((work / f"{arm}-{seed}" / "results.json").read_text())["test"] for seed in SEEDS]
    right = [result["accuracy"] for result in found]
    row: dict[str, Any] = {
        "accuracy": [round(x, 4) for x in right],
        "mean": round(float(np.mean(right)), 4),
        "sd": round(float(np.std(right, ddof=1)), 4),
        "test": found[0]["count"],
    }
    drops: dict[str, list[float]] = {}
    for seed, result in zip(SEEDS, found, strict=True):
        figures = json.loads((work / f"{arm}-{seed}" / "eval" / f"test-{result['step']}.json").read_text())
        for name, drop in figures.get("importance", {}).get("drops", {}).items():
            drops.setdefault(name, []).append(round(drop["mean"], 4))
    return {**row, "drops": drops} if drops else row


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = _arms.parsed(_arms.parser(__doc__, "columns.jsonl"), argv, ARMS)

    def measure(arm):
        write(args.work, args.data_dir)
        for command in commands(arm, args.work):
            _arms.trained(command, args.data_dir)
        return told(args.work, arm)

    return _arms.run(args, lambda arm: commands(arm, args.work), measure)


if __name__ == "__main__":
    sys.exit(main())
