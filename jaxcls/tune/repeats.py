"""The best trials again with several seeds, and the one look at test.

The best of many trials is partly the luckiest (winner's curse): its own value is too good. So the best k are run with
seeds 0 .. S-1, what they reach on validation says which setting is chosen, and only then are these runs, and no others,
evaluated on test.

A repetition lies in SEARCH/repeat-N/seed-S; where S is the seed that all trials have, that is a link to trial-N.
"""

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxcls import files
from jaxcls.tune.budget import Budget
from jaxcls.types import PathLike

RECORD = "tune.json"  # in a repetition's folder, once it has ended: how


@dataclasses.dataclass(frozen=True)
class Repeat:
    """A trial with a seed. `test`: whether what is due is the look at test; else it is the training."""

    trial: int
    seed: int
    folder: Path
    params: Mapping[str, Any]
    test: bool = False

    @property
    def name(self) -> str:
        """Of its claim."""
        return f"repeat-{self.trial}-seed-{self.seed}"


def due(search: PathLike, record: Mapping[str, Any], budget: Budget, own_seed: int) -> list[Repeat]:
    """What of the repetitions is still to be done: all trainings, and after the last of them the looks at test.

    Args:
      search: folder of the search, in which no trial is under way or due any more.
      record: `search.json`.
      budget: of the search.
      own_seed: the seed of the trials.
    """
    rows = {row["number"]: row for row in record["trials"]}
    best = [number for number in record["best"] if rows[number]["state"] == "complete"][: budget.repeat]
    asked = [
        Repeat(number, seed, folder_of(search, number, seed), rows[number]["params"])
        for number in best
        for seed in range(budget.seeds)
    ]
    for repeat in asked:
        if repeat.seed == own_seed:
            _link(repeat.folder, f"trial-{repeat.trial}")
    left = [repeat for repeat in asked if ended(repeat.folder) is None]
    if left:
        return left
    done = [repeat for repeat in asked if ended(repeat.folder) == "complete"]
    return [dataclasses.replace(x, test=True) for x in done if not (x.folder / "results.json").is_file()]


def folder_of(search: PathLike, number: int, seed: int) -> Path:
    """Where a repetition lies."""
    return Path(search) / f"repeat-{number}" / f"seed-{seed}"


def ended(folder: Path) -> str | None:
    """How a repetition ended, "complete" or "failed"; None where it did not yet."""
    if folder.is_symlink():
        return "complete"
    return (files.read_json(folder / RECORD) or {}).get("state")


def lines(repeats: Sequence[Mapping[str, Any]], figure: Any) -> list[str]:
    """What the repetitions (of `search.json`) have come to, for people: the chosen trial first."""
    if not repeats:
        return []
    ranked = sorted(repeats, key=lambda entry: _rank(entry, figure))
    texts = [f"trial {entry['trial']}: {_told(entry, figure)}" for entry in ranked]
    return [f"chosen by its mean on validation: {texts[0]}", *texts[1:]]


def _rank(entry, figure):
    values = [value for value in entry["validation"] if value is not None]
    mean = sum(values) / len(values) if values else -math.inf
    return (-mean if figure.best == "max" or not values else mean), entry["trial"]


def _told(entry, figure):
    parts = [_spread("validation", entry["validation"], None, figure)]
    if test := entry.get("test"):
        parts.append(_spread("test", test[figure.name], test["interval"], figure))
    return "; ".join(parts)


def _spread(split, values, interval, figure):
    """ "test accuracy 97.10 % (sd 0.21, 3 seeds, 95 % interval 96.58 to 97.62)"."""
    known = [value for value in values if value is not None]
    title = f"{split} {figure.name.replace('_', ' ')}"
    if not known:
        return f"{title}: none"
    scale, unit, digits = (100, " %", 2) if figure.share else (1, "", 4)
    mean = sum(known) / len(known)
    about = [f"{len(known)} seed{'s' if known[1:] else ''}"]
    if known[1:]:
        sd = math.sqrt(sum((value - mean) ** 2 for value in known) / (len(known) - 1))
        about.insert(0, f"sd {scale * sd:.{digits}f}")
    if interval:
        low, high = (f"{scale * end:.{digits}f}" for end in interval)
        about.append(f"95 % interval {low} to {high}")
    return f"{title} {scale * mean:.{digits}f}{unit} ({', '.join(about)})"


def _link(folder, target):
    """The trial itself stands for the repetition with its own seed; where there are no links it is run again."""
    with contextlib.suppress(OSError):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(Path("..") / target)
