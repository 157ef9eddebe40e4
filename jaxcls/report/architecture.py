"""The page of an architecture search, `nas.html`, made of `nas.json` alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls import files
from jaxcls.report import search_figure as figure
from jaxcls.report.document import document
from jaxcls.report.markup import Markup, Section, facts, folded, join, label, paragraph, percent, section, table, tag
from jaxcls.report.svg import STYLES, Plot
from jaxcls.types import PathLike

Record = Mapping[str, Any]  # a search as nas.json has it

KINDS = {"found": "the choice", "searched": "another search's", "random": "random", "known": "known net"}
COURSE = (
    "How likely the controller found each option, over the steps of the supernet. In the first quarter it learns "
    "nothing. What stays near the others was not decided, whatever is chosen in the end."
)
TABLE = (
    "Each net trained from scratch by one recipe, with the same seeds, on all training pictures; the random ones have "
    "no more multiply-adds than the choice, and are what a search without any reward would have found."
)


def write(record: Record, folder: PathLike) -> Path:
    """Writes nas.html into a search's folder. Raises UserError where it can't be written."""
    path = Path(folder) / "nas.html"
    with files.replacing(path) as temporary:
        temporary.write_bytes(page(record).encode("utf-8", "replace"))
    return path


def page(record: Record) -> str:
    """The page as text."""
    title = f"Architecture search {label(str(record['name']))}"
    head = [tag("p", "jaxcls · report of an architecture search", class_="dim"), tag("h1", title), *_head(record)]
    sections = [_net(record), _nets(record), _course(record), _about(record)]
    return document(f"{title}: report", join(head), sections, "Made by jaxcls from nas.json; docs/nas.md explains it.")


def _head(record):
    cautions = []
    if record["verdict"]["interval"] is None:
        cautions.append("There is no verdict yet: the nets are compared once each has two seeds.")
    elif record["verdict"]["interval"][0] <= 0:
        cautions.append("The choice is no better than random nets of no more multiply-adds: nothing was gained.")
    undecided = [d["name"] for d, row in zip(record["decisions"], _last(record), strict=True) if max(row) < 0.5]
    if undecided:
        cautions.append(f"No option of {', '.join(undecided)} became likelier than all others together.")
    yield paragraph(record["verdict"]["line"], class_="verdict")
    if cautions:
        yield tag(
            "div", tag("b", "Before you rely on it"), tag("ul", *(tag("li", c) for c in cautions)), class_="cautions"
        )


def _last(record):
    return record["history"][-1]


def _net(record) -> Section:
    rows = []
    taken = zip(record["decisions"], record["choice"], _last(record), strict=True)
    for decision, option, row in taken:
        rows.append((decision["name"], _shown(decision, option), percent(row[option], 0)))
    about = [
        ("net", record["described"]),
        ("multiply-adds", f"{record['macs']:,}"),
        ("parameters", f"{record['params']:,}"),
        ("train it", tag("code", "jaxcls train --config=FOLDER/found.py")),
    ]
    return section(
        "net", "What was chosen", facts(about), table(("Decision", "Option", "Probability"), rows, words=(0, 1))
    )


def _nets(record) -> Section:
    rows = []
    for net in sorted(record["nets"], key=lambda net: -(_mean(net) or 0.0)):
        values = [run.get("accuracy") for run in net["runs"]]
        shown = figure.spread({"share": True}, values)
        seconds = sum(run.get("cpu_seconds", 0.0) for run in net["runs"])
        name = tag("b", net["name"]) if net["kind"] == "found" else net["name"]
        rows.append((name, KINDS[net["kind"]], shown, f"{net['macs']:,}", f"{net['params']:,}", f"{seconds:,.0f}"))
    head = ("Net", "Kind", "Accuracy", "Multiply-adds", "Parameters", "CPU seconds")
    about = paragraph(f"{TABLE} {record['verdict']['rule']}")
    return section("nets", "Against random nets", about, table(head, rows, words=(0, 1)))


def _course(record) -> Section:
    plots = []
    for i, decision in enumerate(record["decisions"]):
        plot = Plot(decision["name"], "step", "probability", (0, record["steps"]), (0, 1), percent="y", height=220)
        values = np.array([row[i] for row in record["history"]])
        order = np.argsort(-values[-1])
        for rank, option in enumerate(order):
            name = _shown(decision, option) if rank < STYLES else ""
            plot.line(record["history_steps"], values[:, option], name, min(rank, STYLES - 1), faint=rank >= STYLES)
        plot.say(f"In the end {_shown(decision, order[0])} has {values[-1, order[0]]:.0%}.")
        plots.append(plot.render())
    return section("course", "Course of the controller", paragraph(COURSE), tag("div", *plots, class_="plots"))


def _about(record) -> Section:
    rows = [
        ("nets in the space", f"{record['size']:,}"),
        *((f"{cost} of its nets", f"{low:,.0f} to {high:,.0f}") for cost, (low, high) in record["range"].items()),
        ("steps of the supernet", f"{record['steps']:,}"),
        ("CPU seconds of the supernet", f"{record['supernet'].get('cpu_seconds', 0.0):,.0f}"),
        ("average reward at its end", f"{record['reward']:.4f}"),
        *_searches(record),
    ]
    if record["target"]:
        rows.append((f"target ({record['cost']})", f"{record['target']:,.6g}"))
    listed = [(net["name"], ", ".join(map(str, net["choice"])) or net["model"]) for net in record["nets"]]
    return section("about", "About the search", facts(rows), folded("Choices of all nets", facts(listed)))


def _searches(record):
    """What other searches took of the same shared weights."""
    for name in ("random", "evolution"):
        if one := record.get("searches", {}).get(name):
            told = f"{one['score']:.4f} by shared weights, the best of {one['asked']} nets: {one['choice']}"
            yield f"{name} search", told


def _shown(decision, option) -> str | Markup:
    """An option in words: "5x5 e3", "skip", "w24"."""
    value = decision["options"][option]
    if isinstance(value, list):
        return f"{value[0]}x{value[0]} e{value[1]}"
    return value if isinstance(value, str) else f"w{value}"


def _mean(net):
    values = [run["accuracy"] for run in net["runs"] if run.get("accuracy") is not None]
    return sum(values) / len(values) if values else None
