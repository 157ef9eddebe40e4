"""What a search is."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxcls.tune import rungs
from jaxcls.tune.space import Space

RUNGS = ("halving", "hyperband")  # pruners of jaxcls/tune/rungs.py


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a search is; two searches are the same where their plans are equal.

    Attributes:
      name: of the study in its storage.
      config: the whole config that trials change, as JSON has it.
      space: what is varied.
      objectives: figures and costs; the first one decides "best".
      directions: "max" or "min" for each.
      sampler: one of sampling.SAMPLERS.
      pruner: one of sampling.PRUNERS; none with several objectives.
      seed: of all draws.
      grid_points: of each continuous dimension of a grid.
      epochs: of a whole trial, for rungs.
      first_rung: epochs.
      eta: the best 1/eta of a rung go on.
    """

    name: str
    config: Mapping[str, Any]
    space: Space
    objectives: tuple[str, ...] = ("accuracy",)
    directions: tuple[str, ...] = ("max",)
    sampler: str = "tpe"
    pruner: str = "none"
    seed: int = 0
    grid_points: int = 0
    epochs: float = 0.0
    first_rung: float = 1.0
    eta: int = 3

    def to_json(self) -> dict[str, Any]:
        """As plan.json has it."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        lists = {key: list(fields[key]) for key in ("objectives", "directions")}
        return {**fields, **lists, "space": self.space.to_json()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Plan":
        """The plan of `to_json`."""
        known = {field.name: stored[field.name] for field in dataclasses.fields(cls) if field.name in stored}
        tuples = {key: tuple(known[key]) for key in ("objectives", "directions")}
        return cls(**{**known, **tuples, "space": Space.from_json(known["space"])})

    @property
    def rungs(self) -> tuple[float, ...]:
        """Epochs of the rungs below a whole trial; () without halving."""
        return rungs.rungs(self.first_rung, self.eta, self.epochs) if self.pruner in RUNGS else ()
