"""What pictures without labels are worth on CIFAR-10 with 500 labels (a ResNet-18 of width 16), beside labels alone.

    python scripts/bench/few_table.py --data-dir DIR --work /tmp/few --steps 1000 fixmatch:0 weak:0
    python scripts/bench/few_table.py --data-dir DIR --work /tmp/few --steps 1000 --list

Net, the 12,500 training pictures and the draws of 500 labels among them are those of scripts/bench/ssl_table.py, whose
probes are in docs/bench/ssl.jsonl. Arms are `METHOD:DRAW`, commands of jaxcls, run one after the other; each appends a
row to --out when it ends, and is left out where it has one of as many steps. All have the same number of steps, rate,
and average of the weights, which answers; a step has 32 pictures with labels. A run of training is cut into pieces of
45 minutes (--max-time). Figures are of the 10,000 test pictures; nothing is chosen on any. Pin it to one core.
"""

import json
import sys
from pathlib import Path
from typing import Any

import _arms

from jaxcls.cli.entry import entry_point

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
    config: Any = config_file.load(_arms.ROOT / "configs" / "resnet18_cifar10.py")
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


def told(workdir: Path) -> dict[str, Any]:
    """Of a run that ended: the figures of the test split, and the last means of its training."""
    test = json.loads((workdir / "results.json").read_text())["test"]
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["split"] == "train"][-1]
    names = ("accuracy", "confident", "pseudo_accuracy", "loss")
    row = {"test": round(test["accuracy"], 4), "interval": [round(x, 4) for x in test["interval"]]}
    return {**row, "count": test["count"], "train": {name: last[name] for name in names if name in last}}


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    about = "\n".join(f"    {name:10}{what}" for name, (what, _) in METHODS.items())
    parser = _arms.parser(f"{__doc__}\n{about}\n", "few.jsonl")
    parser.add_argument("--steps", type=int, default=1000, help="of each run")
    args = _arms.parsed(parser, argv, [f"{method}:{draw}" for method in METHODS for draw in range(DRAWS)])
    made = lambda arm: command(arm, args.work, str(args.data_dir), args.steps)  # noqa: E731

    def measure(arm):
        lists(args.work, str(args.data_dir))
        _arms.trained(made(arm), args.data_dir)
        place = next(part.partition("=")[2] for part in made(arm) if part.startswith("--workdir="))
        return {"steps": args.steps, **told(Path(place))}

    return _arms.run(args, lambda arm: [made(arm)], measure, counts=lambda row: row["steps"] == args.steps)


if __name__ == "__main__":
    sys.exit(main())
