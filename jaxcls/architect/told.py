"""What an architecture search says in the terminal."""

from collections.abc import Mapping
from typing import Any

from jaxcls.nas import costs
from jaxcls.nas.space import Space
from jaxcls.types import PathLike


def space(space: Space) -> list[str]:
    """A space: its decisions, and what its nets cost."""
    lines = [f"{space.size:,} choices of {len(space.sizes)} decisions"]
    lines += [f"  {d.name}: {', '.join(map(_option, d.options))}" for d in space.decisions]
    for cost, name in zip(costs.COUNTED, ("multiply-adds", "parameters"), strict=True):
        least, most = costs.span(space, costs.counted(space, cost))
        lines.append(f"  {name}: {least:,.0f} to {most:,.0f}")
    return lines


def summary(record: Mapping[str, Any], workdir: PathLike) -> list[str]:
    """What a search has come to."""
    lines = ["", f"found   {record['described']}"]
    for net in record["nets"]:
        values = [run["accuracy"] for run in net["runs"] if run.get("accuracy") is not None]
        reached = f"{100 * sum(values) / len(values):.2f} % (n = {len(values)})" if values else "failed"
        lines.append(
            f"  {net['name']:<16} {reached:>18}  {net['macs']:>13,} multiply-adds  {net['params']:>10,} parameters"
        )
    lines.append(record["verdict"]["line"])
    return [
        *lines,
        f"  figures {workdir}/nas.json, report {workdir}/nas.html",
        f"  train it: jaxcls train --config={workdir}/found.py",
    ]


def _option(option):
    if isinstance(option, tuple):
        return f"{option[0]}x{option[0]} e{option[1]}"
    return option if isinstance(option, str) else f"w{option}"
