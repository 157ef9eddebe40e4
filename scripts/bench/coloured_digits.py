"""Whether words that were learnt apart name what was never shown together: digits of MNIST in ten colours.

    python scripts/bench/coloured_digits.py --data-dir DIR --work /tmp/digits clip siglip
    python scripts/bench/coloured_digits.py --data-dir DIR --work /tmp/digits --list

The first 20,000 training digits get a colour each and the caption "a red three", but for 20 of the 100 pairs of colour
and digit (two of each colour and of each digit), which no training picture has. A LeNet-5 and a tower of texts of two
blocks learn from the captions alone (config.words); tokens are letters. Then `jaxcls zeroshot` makes a classifier of
all 100 pairs of the run, and 9,000 of the test digits in all colours are judged (1,000 stand for its training split,
which nothing learns from). A classifier of 100 classes that has seen 80 of them is right about none of the others.
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

COLOURS = {
    "red": (230, 40, 40), "green": (40, 190, 60), "blue": (60, 90, 240), "yellow": (240, 220, 50),
    "purple": (150, 60, 200), "orange": (245, 140, 30), "white": (255, 255, 255), "grey": (120, 120, 120),
    "cyan": (60, 220, 220), "pink": (250, 150, 190),
}  # fmt: skip
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NAMES = [f"{colour} {digit}" for digit in DIGITS for colour in COLOURS]
COUNT, ASIDE = 20_000, 10
CONFIG = """from jaxcls.settings import config_file


def get_config():
    config = config_file.load("pairs_table")
    config.model.fields = {}
    return config
"""
SETTINGS = [
    "--config.data.channels=3", "--config.data.validation=0", "--config.model.name=lenet5",
    "--config.data.augment=resize(28, 28)", "--config.data.eval_transform=resize(28, 28)",
    "--config.model.neck=cosine(64)", "--config.words.context=24", "--config.words.width=64",
    "--config.words.depth=2", "--config.duration=5 epochs",
]  # fmt: skip


def unseen(digit: int, colour: int) -> bool:
    """Whether no training picture has this pair: two of each."""
    return (colour - digit) % 10 in (0, 3)


def write(work: Path, data_dir: Path) -> None:
    """Writes the pictures, captions.csv (training and test) and pairs.csv (test digits, classed by pair)."""
    from PIL import Image

    from jaxcls.data import sources

    if (work / "pairs.csv").exists():
        return
    found: Any = sources.find("tfds/mnist", data_dir=str(data_dir))
    rng, rows, pairs = np.random.default_rng(0), [], []
    for split, count in (("train", COUNT), ("test", 10_000)):
        source = found[split]
        (work / split).mkdir(exist_ok=True)
        for i in range(count):
            digit = int(source.labels[i])
            free = [c for c in range(10) if split == "test" or not unseen(digit, c)]
            colour = int(rng.choice(free))
            ink = np.array([*COLOURS.values()][colour])
            image = source.images[i][..., :1] * ink / 255
            path = f"{split}/{i:05}.png"
            Image.fromarray(image.astype(np.uint8)).save(work / path)
            name = NAMES[10 * digit + colour]
            rows.append((path, f"a {name}", DIGITS[digit], split))
            if split == "test":
                pairs.append((path, name, "test" if i % ASIDE else "train"))
    (work / "letters").write_text("#version\na b\n")
    (work / "config.py").write_text(CONFIG)
    _write(work / "captions.csv", ("path", "caption", "label", "split"), rows)
    _write(work / "pairs.csv", ("path", "label", "split"), pairs)


def _write(path, head, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([head, *rows])


def commands(method: str, work: Path) -> list[list[str]]:
    """What an arm runs: arguments of jaxcls."""
    run, out, words = f"{work}/{method}", f"{work}/{method}-zero", f"{work}/letters"
    learn = [f"--data=table/{work}/captions.csv", f"--config.words.vocab={words}", f"--config.words.method={method}"]
    return [
        ["train", f"--config={work}/config.py", f"--workdir={run}", *SETTINGS, *learn],
        ["zeroshot", run, f"--data=table/{work}/pairs.csv", f"--vocab={words}", f"--out={out}", "--template=a {}"],
        ["eval", out],
    ]


def told(work: Path, method: str) -> dict[str, Any]:
    """Of an arm that ended: accuracy among all 100 pairs of pictures whose pair was shown, and of the others."""
    from jaxcls.metrics import wilson_interval

    recall = json.loads((work / method / "results.json").read_text())["test"]["recall"]
    found = json.loads((work / f"{method}-zero" / "eval" / "test-0.json").read_text())
    each, row = found["per_class"], {"recall_of_captions": round(recall, 4)}
    hidden = {NAMES[10 * d + c] for d in range(10) for c in range(10) if unseen(d, c)}
    for name, wanted in (("shown", False), ("unseen", True)):
        which = [i for i, title in enumerate(each["name"]) if (title in hidden) == wanted]
        count = sum(each["support"][i] for i in which)
        right = round(sum(each["recall"][i] * each["support"][i] for i in which if each["support"][i]))
        row[name] = round(right / count, 4)
        row[f"{name}_interval"] = [round(end, 4) for end in wilson_interval(right, count)]
        row[f"{name}_count"] = count
    return row


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = _arms.parsed(_arms.parser(__doc__, "words.jsonl"), argv, ["clip", "siglip"])

    def measure(method):
        write(args.work, args.data_dir)
        first, *rest = commands(method, args.work)
        _arms.trained(first, args.data_dir)
        for command in rest:
            _arms.jaxcls(command, args.data_dir)
        return told(args.work, method)

    return _arms.run(args, lambda method: commands(method, args.work), measure)


if __name__ == "__main__":
    sys.exit(main())
