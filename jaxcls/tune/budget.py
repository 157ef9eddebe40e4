"""What a search may spend, and what it is asked for beside its plan: `budget.json`, which may change on the way."""

import dataclasses
import math
import re
from pathlib import Path

from jaxcls import files
from jaxcls.criteria import Figure
from jaxcls.errors import UserError
from jaxcls.types import PathLike

FILE = "budget.json"
ROUNDING = 1e-6  # epochs


@dataclasses.dataclass(frozen=True)
class Budget:
    """What is asked for. Of `trials` and `epochs` one is set.

    Attributes:
      trials: how many are begun; one that is promoted is one.
      epochs: of all trials together. A trial is begun where it fits in wholly; repeats do not count.
      objectives: the first one ranks.
      config: the name of the config as it was given, for people.
      repeat: how many of the best trials are run again in the end; 0: none, and no test picture is looked at.
      seeds: of each of them.
    """

    trials: int | None
    epochs: float | None
    objectives: tuple[Figure, ...]
    config: str = ""
    repeat: int = 0
    seeds: int = 3

    def allows(self, spent: float, whole: float) -> bool:
        """Whether there is room for a whole trial of so many epochs, beside what is spent or may still be by trials
        that run. A number of trials sets no bound here."""
        return self.epochs is None or spent + whole <= self.epochs + ROUNDING

    def __str__(self) -> str:
        return f"{self.trials} trials" if self.epochs is None else f"{self.epochs:g} epochs"


def parse(text: str) -> tuple[int | None, float | None]:
    """(trials, epochs) of "300 epochs" or "40 trials", one of them None.

    Raises:
      UserError: for a text that is neither, or nothing at all.
    """
    match = re.fullmatch(r"\s*([\d.]+(?:e\d+)?)\s*(epochs?|trials?)\s*", text)
    try:
        number = float(match[1]) if match else 0.0
    except ValueError:
        number = 0.0
    if match is None or not 0 < number < math.inf or (match[2][0] == "t" and not number.is_integer()):
        raise UserError(f"--budget={text!r} is no budget; write for example '300 epochs' or '40 trials'.")
    return (int(number), None) if match[2][0] == "t" else (None, number)


def write(search: PathLike, budget: Budget) -> None:
    """Stores it. Raises UserError where that can't be done."""
    stored = dataclasses.asdict(budget) | {"objectives": [figure._asdict() for figure in budget.objectives]}
    files.write_json(Path(search) / FILE, stored)


def read(search: PathLike) -> Budget:
    """The stored one.

    Raises:
      UserError: where there is none, or it is damaged.
    """
    stored = files.read_json(Path(search) / FILE, strict=True)
    try:
        return Budget(**stored | {"objectives": tuple(Figure(**figure) for figure in stored["objectives"])})
    except (TypeError, KeyError) as error:
        raise UserError(f"{search} holds no search that was begun ({FILE}); give CONFIG and --space, too.") from error
