"""What learning without labels is worth on CIFAR-10 (a ResNet-18 of width 16), beside what costs nothing.

    python scripts/bench/ssl_table.py --data-dir DIR --work /tmp/ssl --out docs/bench/ssl.jsonl simclr probes:simclr
    python scripts/bench/ssl_table.py --data-dir DIR --work /tmp/ssl --list

Arms are commands of jaxcls, run one after the other; each appends a row to --out when it ends, and is left out where it
has one. A run of training is cut into pieces of 45 minutes (--max-time), which go on exactly where they stopped. 12,500
training pictures (37,500 of validation choose C); figures are of the 10,000 test pictures. Pin it to one core.
"""

import re
import sys
from pathlib import Path

import _arms

from jaxcls.cli.entry import entry_point

NET = ["--config.model.fields.width=16", "--config.data.validation=0.75"]
SGD = [  # lightly's CIFAR-10 benchmark: 0.06 for each 128 pictures, cosine, no warm-up
    "--config.optim.name=sgd", "--config.optim.lars_form=paper", "--config.optim.trust=0.001",
    "--config.optim.weight_decay=5e-4", "--config.optim.decay_mask=('.',)",
    "--config.schedule.peak=0.06", "--config.schedule.per_batch=128", "--config.schedule.warmup=",
    "--config.batch_size=128", "--config.checkpoint.every=2 epochs",
]  # fmt: skip
GREY = "random_resized_crop(32), flip, random_grey(0.2)"
VIEWS = "random_resized_crop(32), flip, color_jitter(0.4, 0.4, 0.4, 0.1, p=0.8), random_grey(0.2)"
LABELS, DRAWS = (500, 5000), 3
PRETRAINED = {  # arm -> (config, epochs, more)
    "simclr": ("simclr_cifar10", 30, []),
    "moco": ("moco_v2_cifar10", 30, []),
    "byol": ("byol_cifar10", 30, []),
    "simclr-5": ("simclr_cifar10", 5, []),
    "simclr-5-no-colour": ("simclr_cifar10", 5, [f"--config.data.augment={GREY}"]),
    "moco-5": ("moco_v2_cifar10", 5, []),
    "moco-5-m0": ("moco_v2_cifar10", 5, ["--config.ssl.momentum=0"]),
    "moco-5-k256": ("moco_v2_cifar10", 5, ["--config.ssl.queue=256"]),
    "moco-5-global": ("moco_v2_cifar10", 5, ["--config.parallel.batch_norm=global"]),
    "random": ("resnet18_cifar10", 1, ["--config.schedule.peak=1e-12", "--config.optim.nesterov=False"]),
}
SCRATCH = {500: (100, 300), 5000: (30, 60)}  # labels -> epochs that are tried


def arms() -> dict[str, str]:
    """Name -> what it does."""
    out = {name: f"{epochs} epochs of {config} {' '.join(more)}" for name, (config, epochs, more) in PRETRAINED.items()}
    for name in PRETRAINED:
        out[f"probes:{name}"] = "linear probes at 500 and 5,000 labels, three draws, and 200 neighbours"
    for labels, tried in SCRATCH.items():
        for epochs in tried:
            out |= {f"scratch:{labels}:{epochs}:{d}": "the same net from scratch on a draw" for d in range(DRAWS)}
    out |= {f"{kind}:{n}:{d}": "hand-made features" for kind in ("hog", "pixels") for n in LABELS for d in range(DRAWS)}
    return out


def pretrain(arm: str, work: Path, data: list[str]) -> list[list[str]]:
    """The command of a run of training."""
    config, epochs, more = PRETRAINED[arm]
    length = f"--config.duration={epochs} epochs"
    late = f"--config.eval.every={epochs} epochs"
    return [["train", f"--config={config}", f"--workdir={work / arm}", *data, *NET, *SGD, length, late, *more]]


def probes(arm: str, work: Path) -> list[list[str]]:
    """The commands that judge a run: probes with few labels, neighbours with all 12,500."""
    run = str(work / arm)
    few = [["probe", run, "--labels", str(n), "--draws", str(DRAWS), f"--workdir={run}-probe-{n}"] for n in LABELS]
    return [*few, ["probe", run, "--knn", "lightly", f"--workdir={run}-knn"]]


def scratch(labels: int, epochs: int, draw: int, work: Path, data: list[str]) -> list[list[str]]:
    """The command of a run from scratch on a draw that the random net's probe has stored."""
    rows = work / f"random-probe-{labels}" / f"labels-{labels}-draw{draw}.csv"
    place = f"--workdir={work}/scratch-{labels}-{epochs}-{draw}"
    own = [f"--config.data.rows={rows}", f"--config.data.augment={VIEWS}"]
    length = [f"--config.{key}={epochs} epochs" for key in ("duration", "eval.every", "checkpoint.every")]
    return [["train", "--config=resnet18_cifar10", place, *data, *NET, *SGD, *own, *length]]


def handmade(kind: str, labels: int, draw: int, work: Path, data_dir: str) -> list[list[str]]:
    """The command of a classical baseline on as many labels, drawn by the seed."""
    config = work / "baseline.py"
    config.write_text(
        "from jaxcls.defaults import default_config\n\n\ndef get_config(arg=''):\n    config = default_config()\n"
        "    config.data.name, config.data.validation = 'tfds/cifar10', 0.75\n    return config\n"
    )
    place = [f"--workdir={work}/{kind}-{labels}-{draw}", "--data-dir", data_dir, "--seed", str(draw)]
    how = ["--features", kind, "--classifier", "logistic", "--train-limit", str(labels)]
    return [["baseline", f"--config={config}", *place, *how]]


def commands(arm: str, work: Path, data_dir: str) -> list[list[str]]:
    """What an arm runs, each a list of arguments of jaxcls."""
    data, (kind, *rest) = [f"--config.data.dir={data_dir}"], arm.split(":")
    if kind == "probes":
        return probes(rest[0], work)
    if kind == "scratch":
        return scratch(*map(int, rest), work, data)
    if kind in ("hog", "pixels"):
        return handmade(kind, *map(int, rest), work, data_dir)
    return pretrain(arm, work, data)


def accuracies(text: str) -> list[str]:
    """Lines of an output that tell of the test split."""
    return [" ".join(line.split()) for line in text.splitlines() if re.search(r"test (accuracy|k-NN)", line)]


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = _arms.parsed(_arms.parser(__doc__, "ssl.jsonl"), argv, [*arms()])
    made = lambda arm: commands(arm, args.work, str(args.data_dir))  # noqa: E731

    def measure(arm):
        told = [(_arms.trained if one[0] == "train" else _arms.jaxcls)(one, args.data_dir) for one in made(arm)]
        return {"test": [line for text in told for line in accuracies(text)]}

    return _arms.run(args, made, measure)


if __name__ == "__main__":
    sys.exit(main())
