"""The space of 125 nets that nas_table.py trains one by one and nas_rank.py ranks by one supernet, and its pictures."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxcls.choices.simulation import Table

TRAIN, VALIDATION, TEST = 10_000, 5_000, 10_000  # the first rows of train, the next ones, all of test
EPOCHS, BATCH, SEEDS = 1, 64, 2
STAGES = (  # a block that may be skipped at each of three sizes, with fixed ones between, which halve the picture
    "mbconv(4, kernels=(3, 7), expansions=(1, 6))",
    "mbconv(8, stride=2, kernels=3, expansions=1, skip=False)",
    "mbconv(8, kernels=(3, 7), expansions=(1, 6))",
    "mbconv(16, stride=2, kernels=3, expansions=1, skip=False)",
    "mbconv(16, kernels=(3, 7), expansions=(1, 6))",
)


def space() -> Any:
    """The Space of the 125 nets."""
    from jaxcls.nas.space import Space, parse_stage

    return Space(tuple(map(parse_stage, STAGES)), first=4, stem="imagenet")


def pictures(work: Path, data_dir: str) -> Path:
    """The file of Fashion-MNIST's rows for `config.data.name=arrays/FILE`, written if it isn't there.

    Its test split has the rows of VALIDATION first, then those of TEST: one program evaluates both.
    """
    from jaxcls.data import sources

    path = work / "pictures.npz"
    if path.exists():
        return path
    whole = sources.load("tfds/fashion_mnist", data_dir=data_dir)
    train, test = _arrays(whole["train"], TRAIN + VALIDATION), _arrays(whole["test"], TEST)
    found = {f"train_{name}": array[:TRAIN] for name, array in train.items()}
    found |= {f"test_{name}": np.concatenate([train[name][TRAIN:], test[name]]) for name in train}
    np.savez(path.with_suffix(".part.npz"), **found)
    path.with_suffix(".part.npz").replace(path)
    return path


def _arrays(source, most):
    """The first rows in the order of the set, which tensorflow-datasets shuffles: ids have it."""
    order = np.argsort([source[row]["id"] for row in range(len(source))])[:most]
    examples = [source[int(row)] for row in order]
    return {f"{name}s": np.stack([example[name] for example in examples]) for name in ("image", "label")}


def config(file: Path, epochs: int = EPOCHS) -> Any:
    """What all nets share; the model's fields are to be set."""
    from jaxcls.defaults import default_config

    made = default_config()
    made.data.name, made.data.normalize = f"arrays/{file}", "fashion_mnist"
    made.data.validation = 0.0
    made.duration, made.batch_size, made.eval.batch_size = f"{epochs} epochs", BATCH, 500
    made.schedule.peak, made.schedule.warmup = 0.2, "20%"
    made.optim.nesterov, made.optim.weight_decay = True, 1e-4
    made.model.name = "mbconv_net"
    made.parallel.devices = 1
    return made


def read(rows: list[dict[str, Any]]) -> Table:
    """The table of nas_table.py's rows: a search sees validation, one seed; it is judged by the mean on test."""
    scores = {tuple(row["choice"]): row["validation"] for row in rows}
    return Table(scores, {tuple(row["choice"]): float(np.mean(row["test"])) for row in rows})
