"""What an architecture search has come to, `nas.json`: made of its runs' folders alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls.ablate.running import RECORD as COST
from jaxcls.architect import verdict
from jaxcls.architect.nets import FOUND, KNOWN, RANDOM, Net
from jaxcls.checkpoints import view
from jaxcls.errors import UserError
from jaxcls.files import read_json
from jaxcls.nas import costs
from jaxcls.nas.space import SKIP, Choice, Space
from jaxcls.types import PathLike

FILE, SUPERNET = "nas.json", "supernet"
PREFIX = "extra/nas/"  # of the controller's arrays in a checkpoint


def controller(workdir: PathLike) -> dict[str, np.ndarray]:
    """The controller's memory at the last step of a supernet's run.

    Raises:
      UserError: where there is no checkpoint, or one of another kind of run.
    """
    arrays = view.read_arrays(view.find_step(Path(workdir)))
    found = {name.removeprefix(PREFIX): array for name, array in arrays.items() if name.startswith(PREFIX)}
    if "logits" not in found:
        raise UserError(f"{workdir} holds no controller of an architecture search; choose another --workdir.")
    return found


def chosen(space: Space, memory: Mapping[str, np.ndarray]) -> Choice:
    """The most likely option of each decision."""
    return tuple(int(np.argmax(row[:n])) for row, n in zip(memory["logits"], space.sizes, strict=True))


def of_search(space: Space, memory: Mapping[str, np.ndarray], target: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """What the supernet's run has found: the space, the choice, the course of the probabilities."""
    choice = chosen(space, memory)
    written = np.flatnonzero(memory["history"].sum((1, 2)))  # a run of few steps leaves rows out
    ranges = {cost: costs.span(space, costs.counted(space, cost)) for cost in costs.COUNTED}
    return {
        "decisions": [{"name": d.name, "options": [_option(o) for o in d.options]} for d in space.decisions],
        "size": space.size,
        "range": ranges,
        **target,
        "steps": steps,
        "history_steps": [round((int(i) + 1) * steps / len(memory["history"])) for i in written],
        "history": [
            [[round(float(p), 5) for p in row[:n]] for row, n in zip(probabilities, space.sizes, strict=True)]
            for probabilities in memory["history"][written]
        ],
        "choice": list(choice),
        "described": space.describe(choice),
        "blocks": [block if block == SKIP else list(block) for block in space.blocks(choice)],
        "macs": space.macs(choice),
        "params": space.params(choice),
        "reward": float(memory["baseline"]),
    }


def of_nets(nets: Sequence[Net], counts: Mapping[str, Mapping[str, int]], folder: PathLike, seeds: int) -> list[dict]:
    """A row for each net that is trained from scratch, with what its finished runs have reached.

    `counts`: name -> {"macs", "params"}.
    """
    rows = []
    for net in nets:
        runs = [_run(Path(folder) / net.name / f"seed-{seed}") for seed in range(seeds)]
        row = {"name": net.name, "kind": net.kind, "model": net.model, **counts[net.name], "choice": list(net.choice)}
        rows.append({**row, "runs": runs})
    return rows


def judged(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The verdict on the choice (`verdict.against_random`), of the first split that all finished runs have."""
    by_kind = {kind: [_values(row) for row in rows if row["kind"] == kind] for kind in (FOUND, RANDOM, KNOWN)}
    found = by_kind[FOUND][0] if by_kind[FOUND] else []
    made = verdict.against_random(found, by_kind[RANDOM])
    return {**made, "line": verdict.line(made, sum(map(bool, by_kind[RANDOM]))), "rule": verdict.RULE}


def _values(row):
    return [run["accuracy"] for run in row["runs"] if run.get("accuracy") is not None]


def _run(folder):
    results, cost = read_json(folder / "results.json"), read_json(folder / COST) or {}
    found: dict[str, Any] = {key: cost[key] for key in ("seconds", "cpu_seconds", "failed") if cost.get(key)}
    if results:
        split, figures = next(iter(results.items()))
        found |= {"split": split, "accuracy": figures.get("accuracy"), "count": figures.get("count")}
    return found


def _option(option):
    return option if option == SKIP else list(option) if isinstance(option, tuple) else option
