"""What a search is after: figures of validation by which the task can be ranked, and what a model costs."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, cast

from jaxcls import pytree
from jaxcls.criteria import Figure
from jaxcls.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from jaxcls.training.run import Run

COSTS = {name: Figure(name, best="min") for name in ("multiply_adds", "parameters", "size", "latency")}


def choose(names: Sequence[str], run: "Run") -> tuple[Figure, ...]:
    """The objectives of these names, for a built run. The first one ranks trials and chooses checkpoints.

    Raises:
      UserError: for one that the run does not have, one named twice, a cost as the first, no validation split, or no
        labels to learn.
    """
    from jaxcls.training import preflight

    preflight.check_labelled(run)
    if not run.selects:
        raise UserError(
            "a search chooses by validation, and this config has none to choose by: set config.data.validation=0.1, "
            "say, or give a folder with a validation split."
        )
    figures = {figure.name: figure for figure in run.task.criteria}
    for i, name in enumerate(names):
        if name not in figures | COSTS:
            known = f"; there are {', '.join([*figures, *COSTS])}"
            raise UserError(f"--objective: this run has no {name!r}{did_you_mean(name, [*figures, *COSTS]) or known}")
        if name in names[:i]:
            raise UserError(f"--objective names {name} twice; once is enough.")
    if not names or names[0] in COSTS:
        raise UserError(f"--objective: the first one is a figure of validation ({', '.join(figures)}); costs follow.")
    return tuple((figures | COSTS)[name] for name in names)


def costs(names: Iterable[str], run: "Run") -> dict[str, float]:
    """Name -> what the model of a run costs, of those names that are costs.

    multiply_adds and parameters by the conventions of `models.summary`, of one picture; size: MB (10^6 bytes) of the
    weights as the run holds them, BatchNorm's statistics included; latency: ms of one picture (models.timing), measured
    here and now.
    """
    from jaxcls.models import summary, timing
    from jaxcls.training import preflight

    state, shape = run.state_shapes, cast(tuple[int, int, int], run.data.picture)
    measures = {
        "multiply_adds": lambda: summary.summarize(run.model.module, shape).total.macs,
        "parameters": lambda: preflight.parameters(run),
        "size": lambda: _bytes(state.params, state.model_state) / 1e6,
        "latency": lambda: timing.measure(run.model.module, shape, 1)["latency_ms"],
    }
    return {name: float(measures[name]()) for name in names if name in measures}


def best(values: Iterable[float], figure: Figure) -> float | None:
    """The best of some values of a figure; None of none."""
    return (max if figure.best == "max" else min)(values, default=None)


def _bytes(*trees):
    return sum(leaf.size * leaf.dtype.itemsize for tree in trees for leaf in pytree.flatten_names(tree).values())
