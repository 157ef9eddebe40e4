"""What pictures without labels are worth on CIFAR-10 with 500 labels (a ResNet-18 of width 16), beside labels alone.

    python scripts/bench/few_table.py --data-dir DIR --work /tmp/few --steps 1000 fixmatch:0 weak:0
    python scripts/bench/few_table.py --data-dir DIR --work /tmp/few --steps 1000 --list

Net, the 12,500 training pictures and the draws of 500 labels among them are those of scripts/bench/ssl_table.py, whose
probes are in docs/bench/ssl.jsonl. Arms are `METHOD:DRAW`, commands of jaxcls, run one after the other; each appends a
row to --out when it ends, and is left out where it has one of as many steps. All have the same number of steps, rate,
and average of the weights, which answers; a step has 32 pictures with labels. A run of training is cut into pieces of
45 minutes (--max-time). Figures are of the 10,000 test pictures; nothing is chosen on any. Pin it to one core.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from jaxcls.cli.entry import entry_point

ROOT = Path(__file__).resolve().parents[2]
HELD = 0.75  # of the training pictures, as in ssl_table.py
LABELS, DRAWS, BATCH, RATIO = 500, 3, 32, 2
WEAK = ("flip", "crop(32, pad=4, mode='reflect')")
STRONG = (*WEAK, "rand_augment(2, magnitude=10)", "cutout(16)")
RECIPE = [
    "--config.model.fields.width=16", "--config.schedule.name=cosine_7_16", "--config.schedule.peak=0.03",
    "--config.schedule.warmup=", "--config.optim.weight_decay=5e-4", "--config.ema_decay=0.99",
    "--config.eval.batch_size=500",
]  # fmt: skip
FEW = [f"--config.few.ratio={RATIO}", f"--config.batch_size={BATCH * (1 + RATIO)}"]
ALONE = [f"--config.batch_size={BATCH}"]
METHODS = {  # -> (what it is, its settings)
    "weak": ("the labels alone, crop and flip", [*ALONE, f"--config.data.augment={WEAK}"]),
    "strong": ("the labels alone, RandAugment and cutout too", [*ALONE, f"--config.data.augment={STRONG}"]),
    "pseudo": ("pseudo-labels", [*FEW, "--config.few.method=pseudo", f"--config.data.augment={WEAK}"]),
    "fixmatch": ("FixMatch", [
        *FEW, "--config.few.method=fixmatch", f"--config.data.augment={WEAK}",
        f"--config.data.augment_second={STRONG}",
    ]),
}  # fmt: skip


def lists(work: Path, data_dir: str) -> None:
    """Writes the training pictures (train.csv), and the draws of labels among them, as the probes draw them."""
    from jaxcls.data import metadata, row_lists
    from jaxcls.settings import config_file
    from jaxcls.training import data

    if (work / f"labels-{DRAWS - 1}.csv").exists():
        return
    config: Any = config_file.load(ROOT / "configs" / "resnet18_cifar10.py")
    config.data.validation, config.data.dir = HELD, data_dir
    train = data.open_sources(config)["train"]
    names = metadata.ids(train)
    row_lists.write(work / "train.csv", names)
    for draw in range(DRAWS):
        rows = row_lists.balanced(train.labels, LABELS, (config.seed, draw))
        row_lists.write(work / f"labels-{draw}.csv", [names[row] for row in rows])


def command(arm: str, work: Path, data_dir: str, steps: int) -> list[str]:
    """What an arm runs: arguments of jaxcls."""
    method, draw = arm.split(":")
    own = f"{work}/labels-{draw}.csv"
    rows = [f"--config.data.rows={own}"]
    if method in ("fixmatch", "pseudo"):
        rows = [f"--config.data.rows={work}/train.csv", f"--config.few.labels={own}"]
    length = [f"--config.{key}={steps} steps" for key in ("duration", "eval.every")]
    length += ["--config.checkpoint.every=100 steps"]
    place = [f"--workdir={work}/{method}-{draw}-{steps}", f"--config.data.dir={data_dir}"]
    return ["train", "--config=resnet18_cifar10", *place, *RECIPE, *length, *rows, *METHODS[method][1]]


def run(arguments: list[str]) -> None:
    """Runs a training in pieces to its end. Raises SystemExit where it fails."""
    workdir = Path(next(part.partition("=")[2] for part in arguments if part.startswith("--workdir=")))
    while not (workdir / "results.json").exists():
        full = [sys.executable, "-m", "jaxcls", *arguments, "--max-time", "45m"]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(full, cwd=ROOT, capture_output=True, text=True, env=env)
        if done.returncode:
            raise SystemExit(f"{shlex.join(arguments)}\n{done.stderr[-2000:]}")


def told(workdir: Path) -> dict[str, Any]:
    """Of a run that ended: the figures of the test split, and the last means of its training."""
    test = json.loads((workdir / "results.json").read_text())["test"]
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["split"] == "train"][-1]
    names = ("accuracy", "confident", "pseudo_accuracy", "loss")
    row = {"test": round(test["accuracy"], 4), "interval": [round(x, 4) for x in test["interval"]]}
    return {**row, "count": test["count"], "train": {name: last[name] for name in names if name in last}}


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments. Ends where an arm is not known."""
    known = [f"{method}:{draw}" for method in METHODS for draw in range(DRAWS)]
    about = "\n".join(f"    {name:10}{what}" for name, (what, _) in METHODS.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\n{about}\n", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("arms", nargs="*", metavar="METHOD:DRAW")
    parser.add_argument("--data-dir", required=True, help="of tensorflow-datasets, with cifar10")
    parser.add_argument("--work", type=Path, required=True, help="folder for the workdirs")
    parser.add_argument("--steps", type=int, default=1000, help="of each run")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "bench" / "few.jsonl")
    parser.add_argument("--list", action="store_true", help="prints the commands")
    args = parser.parse_args(argv)
    if strange := [arm for arm in args.arms if arm not in known]:
        parser.error(f"there is no arm {strange[0]!r}; it can be {', '.join(known)}")
    args.arms = args.arms or known
    return args


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    commands = {arm: command(arm, args.work, args.data_dir, args.steps) for arm in args.arms}
    if args.list:
        for arm, arguments in commands.items():
            print(f"{arm}: jaxcls {shlex.join(arguments)}")
        return 0
    args.work.mkdir(parents=True, exist_ok=True)
    lists(args.work, args.data_dir)
    rows = map(json.loads, args.out.read_text().splitlines()) if args.out.exists() else ()
    done = {(row["arm"], row["steps"]) for row in rows}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    for arm, arguments in commands.items():
        if (arm, args.steps) in done:
            continue
        began, spent = time.monotonic(), os.times()
        run(arguments)
        now = os.times()
        cpu = now.children_user + now.children_system - spent.children_user - spent.children_system
        workdir = Path(next(part.partition("=")[2] for part in arguments if part.startswith("--workdir=")))
        row = {"arm": arm, "steps": args.steps, **told(workdir), "cpu_s": round(cpu)}
        row |= {"wall_s": round(time.monotonic() - began), "commit": commit.stdout.strip()}
        with open(args.out, "a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
