"""What a search's page says first: what is best, how to train with it, and what to be careful about."""

import shlex

from jaxcls.report import search_figure as figure
from jaxcls.report.markup import Markup, join, label, paragraph, table, tag, unordered
from jaxcls.report.search_figure import Record
from jaxcls.report.search_scale import scales
from jaxcls.report.search_text import summary

BLOCK = "overflow-x: auto; background: var(--panel); padding: .6rem .8rem; border-radius: .5rem"
FEW = 10  # trials

EDGE = 0.05  # of an axis


def best(record: Record) -> list[Markup]:
    """The verdict, the command to copy, the repetitions, and how the trials ended."""
    found = [paragraph(summary(record), class_="verdict")]
    if record["command"]:
        code = tag("pre", tag("code", _folded(record["command"])), style=BLOCK)
        found += [paragraph("To train with this setting, with the test at the end:"), code]
    if record["repeats"]:
        found.append(_repeats(record))
    counts = {state: sum(t["state"] == state for t in record["trials"]) for state in figure.STATES}
    tiles = [(count, state) for state, count in counts.items() if count]
    tiles.append((figure.epochs(record["budget"]["spent_epochs"]), "epochs trained"))
    tiles.append((figure.duration(sum(t["seconds"] for t in record["trials"])), "of all trials together"))
    boxes = [tag("div", tag("b", value), tag("span", name)) for value, name in tiles]
    return [*found, tag("div", *boxes, class_="tiles")]


def cautions(record: Record) -> Markup:
    """What stands between the figures and a belief in them."""
    trials, lines = record["trials"], []
    if record["state"] != "done":
        lines.append(
            "The search is running; this page is of its newest trial."
            if record["state"] == "running"
            else "The search was stopped before its end: the same command goes on with it."
        )
    if trials and not record["best"]:
        lines.append("No trial has a result. What went wrong stands under “What was left out”.")
    if lost := sum(t["state"] in ("failed", "lost") for t in trials):
        lines.append(f"{lost:,} of {len(trials):,} trials failed: their settings count as tried, without a value.")
    if record["best"]:
        if not record["repeats"] and len(trials) > 1:
            lines.append(
                "The best value is the highest of many, on the pictures that chose it: it is optimistic. Repeat the "
                "best ones with several seeds (--repeat), and believe those."
            )
        if len(trials) < FEW:
            few = "trials are" if len(trials) != 1 else "trial is"
            lines.append(f"{len(trials)} {few} few: little can be said about what matters.")
        if edge := _at_the_edge(record):
            lines.append(edge)
    if not lines:
        return Markup("")
    return tag("div", tag("b", "Before you rely on it"), unordered(lines), class_="cautions")


def _folded(command: str) -> str:
    """A command line with an option a line, as a shell takes it, too."""
    words = [shlex.quote(word) for word in shlex.split(command)]
    return " ".join(f"\\\n  {word}" if word.lstrip("'").startswith("--") else word for word in words)


def _repeats(record: Record) -> Markup:
    """The repetitions of the best trials with other seeds."""
    objective = record["objectives"][0]
    found = {trial["number"]: trial for trial in record["trials"]}
    rows = []
    for entry in record["repeats"]:
        test = entry.get("test") or {}
        trial = found.get(entry["trial"])
        ends = figure.interval(objective, test.get("interval"))
        rows.append(
            (
                f"Trial {entry['trial']}",
                figure.value(objective, figure.first(trial) if trial else None),
                figure.spread(objective, entry["validation"]),
                figure.spread(objective, test.get(objective["name"], [])),
                ends,
                ", ".join(map(str, entry["seeds"])),
            )
        )
    name = figure.name(objective)
    head = (
        "Setting",
        "In the search",
        "Validation, mean ± sd",
        "Test, mean ± sd",
        "95 % interval of the mean",
        "Seeds",
    )
    about = paragraph(
        f"The best settings once more with several seeds, the trial's own among them where it is one of these: the "
        f"mean {name} on validation has hardly any of the luck that made one run the best. Test was looked at once, "
        "after all was chosen."
    )
    return join([tag("h3", "With several seeds"), about, table(head, rows, words=(0, 5))])


def _at_the_edge(record: Record) -> str:
    """A sentence where the best value of a parameter lies at an end of its range: a better one may lie beyond."""
    best = next((trial for trial in record["trials"] if trial["number"] in record["best"][:1]), None)
    if best is None or len(record["trials"]) < 2:
        return ""
    found = []
    for scale in scales(record["space"], [best]):
        at = scale.at(best["params"][scale.key])
        if scale.kind != "choice" and (at < EDGE or at > 1 - EDGE):
            end = "lower" if at < EDGE else "upper"
            found.append(f"{label(scale.key)} ({figure.parameter(best['params'][scale.key])}, the {end} end)")
    if not found:
        return ""
    return f"The best trial lies at an end of the range of {', '.join(found)}: what is beyond may be better."
