"""Whether TPE and pruning find better settings than random draws and a grid, on a table of runs that was made once.

    python scripts/bench/tune.py table --out tests/fixtures/tune_digits.csv
    python scripts/bench/tune.py simulate --table tests/fixtures/tune_digits.csv

`table` trains LeNet-5 on scikit-learn's digits (configs/lenet5_digits.py for 8 epochs, without the average of weights)
for each of 12 rates, 5 batch sizes and 3 seeds, and writes how many of the validation pictures were right after each
epoch. It is one process, so that the step is compiled once a batch size. Rows that are there are kept.

`simulate` searches that table with jaxcls's samplers and pruner, and prints how far the mean (over the seeds) of the
setting found lies below the best one's, in points of accuracy: mean and standard error over --repeats searches.
"""

import argparse
import contextlib
import csv
import io
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _tune_simulate import read, simulate

from jaxcls.cli import devices
from jaxcls.cli.entry import entry_point

RATES = 12  # from LOW to HIGH, evenly in the logarithm
LOW, HIGH = 1e-3, 1.0
BATCHES = (32, 64, 128, 256, 512)
SEEDS = 3
EPOCHS = 8
SPLITS = (0.6, 0.35, 0.05)  # 629 pictures for validation, of which 10 % would be too few to tell settings apart


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("table", help="trains what is missing of the table")
    making.add_argument("--out", type=Path, required=True, metavar="CSV")
    making.add_argument("--rates", type=int, default=RATES, help="the first so many; default: all %(default)s")
    making.add_argument("--batches", type=int, default=len(BATCHES), help="the same of batch sizes")
    making.add_argument("--seeds", type=int, default=SEEDS)
    playing = verbs.add_parser("simulate", help="searches the table")
    playing.add_argument("--table", type=Path, required=True, metavar="CSV")
    playing.add_argument("--repeats", type=int, default=200)
    playing.add_argument("--trials", type=int, nargs="+", default=[16, 36])
    playing.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if args.verb == "table":
        devices.set_up()  # compiled programs are kept: each batch size is compiled once
        table(args.out, rates()[: args.rates], BATCHES[: args.batches], range(args.seeds))
        return 0
    began = time.process_time()
    result = simulate(read(args.table), args.repeats, args.trials)
    result["cpu_seconds"] = round(time.process_time() - began, 1)
    print(json.dumps(result) if args.json else "\n".join(lines(result)))
    return 0


def rates() -> list[float]:
    """The learning rates of the table, with four digits."""
    return [float(f"{rate:.4g}") for rate in np.geomspace(LOW, HIGH, RATES)]


def table(path: Path, some_rates: Sequence[float], batches: Sequence[int], seeds: Sequence[int]) -> None:
    """Trains the runs that the file lacks and adds a line for each: its setting, pictures, right after each epoch.

    A run that failed has fewer epochs.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    known = set(read(path)) if path.exists() else set()
    wanted = [(rate, batch, seed) for batch in batches for seed in seeds for rate in some_rates]
    missing = [key for key in wanted if key not in known]
    with open(path, "a", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        if not known:
            out.writerow(["rate", "batch", "seed", "pictures", *(f"epoch{i}" for i in range(1, EPOCHS + 1))])
        for i, key in enumerate(missing, 1):
            cpu = time.process_time()
            pictures, right = one(*key)
            out.writerow([*key, pictures, *right])
            file.flush()
            seconds = time.process_time() - cpu
            told = f"{right[-1] / pictures:.1%}" if right else "failed"
            print(f"{i} of {len(missing)}: {key} {told}, {seconds:.1f} CPU s", file=sys.stderr, flush=True)


def one(rate: float, batch: int, seed: int) -> tuple[int, list[int]]:
    """(pictures of validation, how many were right after each epoch) of a run; fewer epochs where it failed."""
    from jaxcls.errors import UserError
    from jaxcls.settings import config_file
    from jaxcls.training import loop

    config = config_file.load("lenet5_digits")
    config.schedule.peak, config.batch_size, config.seed = rate, batch, seed
    config.duration, config.eval.every, config.checkpoint.every = f"{EPOCHS} epochs", "1 epoch", "1000 epochs"
    config.data.split_ratios, config.ema_decay = SPLITS, 0.0
    seen: list[Any] = []

    def follow(step, figures):
        seen.append((figures["count"], figures["correct"]))
        return ""

    quiet, failing = contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(UserError)
    with tempfile.TemporaryDirectory() as folder, quiet, failing:  # a loss that is not finite: what was seen counts
        loop.run(config, folder, follow=follow, final=False)
    return (int(seen[0][0]) if seen else 0), [int(right) for _, right in seen]


def lines(result: dict[str, Any]) -> list[str]:
    """The result as a table of Markdown, with the paired tests below."""
    text = [
        f"{result['settings']} settings, best {100 * result['best']:.2f} %, median {100 * result['median']:.2f} %; "
        f"{result['repeats']} searches each; {result.get('cpu_seconds', 0)} CPU s",
        "",
        "| epochs (whole trials) | search | trials | regret, points ± s.e. |",
        "|---|---|---|---|",
    ]
    for row in result["rows"]:
        regret = f"{row['mean']:.3f} ± {row['error']:.3f}"
        text.append(f"| {row['epochs']} ({row['whole']}) | {row['name']} | {row['trials']:.1f} | {regret} |")
    text.append("")
    for test in result["tests"]:
        low, high = test["interval"]
        text.append(
            f"{test['whole']} trials: {test['b']} less {test['a']}: {test['difference']:+.3f} points, 95 % interval "
            f"{low:+.3f} to {high:+.3f}, paired t, p {test['p']:.2g}"
        )
    return text


if __name__ == "__main__":
    sys.exit(main())
