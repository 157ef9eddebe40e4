"""One dimension of a search space: a config key, and what it may be."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from jaxcls.errors import UserError
from jaxcls.tune.notation import Value, shown

if TYPE_CHECKING:
    from optuna.trial import Trial

KINDS = {
    "log": "log(1e-3, 1)",
    "linear": "linear(0.5, 0.99)",
    "int": "int(1, 3)",
    "pow2": "pow2(32, 512)",
    "choice": "choice(sgd, lion)",
}  # an example each
CONTINUOUS = ("log", "linear")


@dataclasses.dataclass(frozen=True)
class Dimension:
    """A config key with the values that a search may give it.

    Attributes:
      key: of the config, as `--config.KEY` has it.
      kind: log (uniform in the logarithm), linear (uniform), int (whole numbers), pow2 (powers of two), choice.
      args: (low, high), both included; (low, high, step) of int; the choices of choice.
      when: (key, value): the dimension counts only where that choice was made; None: always.

    Raises:
      UserError: for arguments that the kind cannot have.
    """

    key: str
    kind: str
    args: tuple[Value, ...]
    when: tuple[str, Value] | None = None

    def __post_init__(self):
        if line := _problem(self):
            raise UserError(f"{self.key}={self.kind}({', '.join(map(shown, self.args))}): {line}")

    def __str__(self) -> str:
        condition = f" if {self.when[0]}={shown(self.when[1])}" if self.when else ""
        return f"{self.key}={self.kind}({', '.join(map(shown, self.args))}){condition}"

    @property
    def name(self) -> str:
        """Its name in Optuna, which keeps the exponent of a power of two: the samplers see its order."""
        return f"log2({self.key})" if self.kind == "pow2" else self.key

    @property
    def numbers(self) -> tuple[Any, ...]:
        """`args`, for the kinds whose arguments are numbers."""
        return self.args

    def suggest(self, trial: "Trial") -> Value:
        """The value of a trial, drawn by its study's sampler unless it has one already."""
        if self.kind == "choice":
            return self.value(trial.suggest_categorical(self.name, self.args))
        if self.kind in CONTINUOUS:
            low, high = map(float, self.numbers)
            return self.value(trial.suggest_float(self.name, low, high, log=self.kind == "log"))
        low, high, step = self._whole()
        return self.value(trial.suggest_int(self.name, low, high, step=step))

    def value(self, stored: Any) -> Value:
        """The value of the config from what Optuna keeps."""
        return 2**stored if self.kind == "pow2" else stored

    def stored(self, value: Any) -> Any:
        """What Optuna keeps of a value."""
        return value.bit_length() - 1 if self.kind == "pow2" else value

    def at(self, share: float) -> Value:
        """The value at a share of the dimension, in [0, 1): uniform shares give the dimension's own distribution."""
        if self.kind in CONTINUOUS:
            return self._between(share)
        values = self.values(0)
        return values[min(int(share * len(values)), len(values) - 1)]

    def values(self, points: int) -> list[Any]:
        """The values of a grid, in order: `points` of a continuous dimension, both ends included (one: the middle),
        all of another."""
        if self.kind == "choice":
            return list(self.args)
        if self.kind in CONTINUOUS:
            if self.args[0] == self.args[1]:
                return [self._between(0)]
            return [self._between(i / (points - 1) if points > 1 else 0.5) for i in range(points)]
        low, high, step = self._whole()
        return [self.value(number) for number in range(low, high + 1, step)]

    def count(self, points: int) -> int:
        """How many values `values` has."""
        if self.kind in CONTINUOUS:
            return 1 if self.args[0] == self.args[1] else points
        low, high, step = (0, len(self.args) - 1, 1) if self.kind == "choice" else self._whole()
        return (high - low) // step + 1

    def _between(self, share):
        low, high = map(float, self.numbers)
        if self.kind == "linear":
            value = low + share * (high - low)
        else:
            value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        if share in (0, 1):
            return high if share else low
        return min(max(value, low), high)

    def _whole(self):
        """(low, high, step) of what is stored; the high end is one that the steps reach."""
        low, high, step = (*self.numbers, 1)[:3]
        if self.kind == "pow2":
            return low.bit_length() - 1, high.bit_length() - 1, 1
        return low, low + (high - low) // step * step, step


def _problem(dimension):
    """What is wrong with the arguments; "" where nothing is."""
    kind, args = dimension.kind, dimension.args
    if kind == "choice":
        if not args:
            return f"there is nothing to choose from; write it like {KINDS[kind]}."
        if bad := [a for a in args if isinstance(a, float) and not math.isfinite(a)]:
            return f"{bad[0]!r} is not a finite number."
        twice = [a for i, a in enumerate(args) if a in args[:i]]
        return f"{shown(twice[0])} stands there twice." if twice else ""
    most = 3 if kind == "int" else 2
    if not 2 <= len(args) <= most:
        return f"it takes the lowest and the highest value{' and a step' if most == 3 else ''}, like {KINDS[kind]}."
    for arg in args:
        if isinstance(arg, (bool, str)):
            return f"{shown(arg)} is not a number; write it like {KINDS[kind]}."
        if not math.isfinite(arg):
            return f"{arg!r} is not a finite number."
        if kind not in CONTINUOUS and not isinstance(arg, int):
            return f"{arg!r} is not a whole number; write it like {KINDS[kind]}."
        if abs(arg) > 2**53:
            return f"{arg!r} is larger than 2^53; write it like {KINDS[kind]}."
    if args[0] > args[1]:
        return f"the lowest value comes first; write {kind}({', '.join(map(shown, (args[1], args[0], *args[2:])))})."
    if kind == "log" and args[0] <= 0:
        return f"there is no logarithm of {args[0]!r}; begin above 0, such as log(1e-6, {args[1]!r}), or take linear."
    if kind == "pow2" and (bad := [a for a in args if a < 1 or a & (a - 1)]):
        return f"{bad[0]} is no power of two; write it like {KINDS[kind]}."
    if args[2:] and args[2] < 1:
        return f"a step is at least 1, not {args[2]}."
    return ""
