"""The sections of a search's page that are tables and sentences."""

from collections.abc import Sequence
from typing import Any

from jaxcls.report import search_figure as figure
from jaxcls.report import search_plots as plots
from jaxcls.report.classes import strip
from jaxcls.report.markup import (
    Markup,
    Section,
    capital,
    facts,
    folded,
    join,
    label,
    paragraph,
    percent,
    section,
    table,
    tag,
    unordered,
)
from jaxcls.report.search_figure import Record
from jaxcls.report.search_parallel import parallel as parallel_coordinates
from jaxcls.report.search_scale import Scale
from jaxcls.report.search_text import keys, ordered

NARROW = "white-space: normal; overflow-wrap: normal"
SHOWN = 50  # trials of the table that are not folded away
TOLD = 20  # trials of one reason
COURSE = (
    "First the best value of any trial until then, over the epochs of all trials together; then each trial by itself. "
    "What lies far from the better half is drawn at the edge."
)
SLICES = (
    "A dot is a trial, with its best value on validation; × below is one that failed. The axes are those of the space, "
    "logarithmic where it is. Other parameters vary, too: dots above each other had the same value of this one alone."
)


def importance(record: Record) -> Section | None:
    """How much of the differences goes with each parameter alone."""
    shares, noise = record["importance"], record.get("noise") or {}
    if not shares:
        return None
    rows = []
    for key, share in sorted(shares.items(), key=lambda entry: -entry[1]):
        level = noise.get(key)
        told = "" if level is None else "more than chance" if share > level else "may be chance"
        rows.append((tag("code", label(key)), percent(share, 0), strip(share, (share, share)), percent(level, 0), told))
    about = paragraph(
        "The part of the differences between trials (of their ranks) that goes with one parameter alone. One without "
        "any influence stays below the level of chance in 19 of 20 searches. What parameters do only together is in "
        "none of the shares, and one that the sampler has hardly varied any more looks less important than it is."
    )
    head = ("Parameter", "Share", "", "Chance", "")
    return section("importance", "What matters", about, table(head, rows, words=(0, 2, 4)))


def parallel(record: Record, axes: Sequence[Scale]) -> Section | None:
    """All parameters of a trial as one line."""
    drawn = parallel_coordinates(record, axes)
    if not drawn:
        return None
    about = (
        "A line is a trial: from its value of each parameter to what it reached. The stronger, the better; the best is "
        "the dashed one. Where strong lines pass through one place of an axis, that place matters."
    )
    return section("parallel", "All parameters together", paragraph(about), drawn)


def front(record: Record) -> Section | None:
    """What is best by several objectives; None where there is one."""
    objectives = record["objectives"]
    if len(objectives) < 2:
        return None
    on = [trial for trial in record["trials"] if trial["number"] in record["front"]]
    on.sort(key=lambda trial: trial["values"][0], reverse=objectives[0]["best"] == "max")
    names = keys(record)
    rows = [
        (
            f"Trial {trial['number']}",
            *(figure.value(objective, x) for objective, x in zip(objectives, trial["values"], strict=True)),
            *(_parameter(trial, key) for key in names),
        )
        for trial in on
    ]
    head = ("Setting", *(capital(figure.name(objective)) for objective in objectives), *_codes(names))
    about = (
        f"No trial is better than one of these in one objective without being worse in another: {len(on)} of "
        f"{len(record['trials'])} trials. Which of them is best is for you to say."
    )
    if not on:
        return section("front", "Several objectives", paragraph("No trial has a value of all objectives."))
    drawn = tag("div", *plots.front(record), class_="plots")
    return section("front", "Several objectives", paragraph(about), drawn, table(head, rows))


def trials(record: Record) -> Section | None:
    """The table of all trials, the best first."""
    if not record["trials"]:
        return None
    objectives, names = record["objectives"], keys(record)
    with_interval = any(trial["interval"] for trial in record["trials"])
    rows = []
    for trial in ordered(record):
        values = trial["values"] or [None] * len(objectives)
        shown = [figure.value(objective, x) for objective, x in zip(objectives, values, strict=True)]
        ends = [figure.interval(objectives[0], trial["interval"])] if with_interval else []
        rows.append(
            (
                trial["number"],
                tag("span", trial["state"], style="white-space: nowrap"),
                *shown,
                *ends,
                *(_parameter(trial, key) for key in names),
                figure.epochs(trial["epochs"]),
                figure.duration(trial["seconds"]),
            )
        )
    head = ["Trial", "State", *(capital(figure.name(objective)) for objective in objectives)]
    head += [*(["95 % interval"] if with_interval else []), *_codes(names), "Epochs", "Time"]
    about = paragraph(
        "Each lies in the folder trial-N of the search and is an ordinary run: jaxcls report, eval and predict take "
        "it. The interval is about chance in which pictures validation has, not about seeds."
    )
    shown = [table(head, rows[:SHOWN], words=(1,))]
    if rows[SHOWN:]:
        shown.append(folded(f"The other {len(rows) - SHOWN:,} trials", table(head, rows[SHOWN:], words=(1,))))
    return section("trials", "All trials", about, *shown)


def cost(record: Record) -> Section | None:
    """What the trials cost, by how they ended."""
    if not record["trials"]:
        return None
    rows = []
    for state in figure.STATES:
        group = [trial for trial in record["trials"] if trial["state"] == state]
        if group:
            rows.append((capital(state), *_sums(group)))
    if len(rows) > 1:
        rows.append(("Together", *_sums(record["trials"])))
    lines = []
    whole = [trial["epochs"] for trial in record["trials"] if trial["state"] == "complete"]
    pruned = [trial["epochs"] for trial in record["trials"] if trial["state"] == "pruned"]
    if whole and pruned:
        saved = max(whole) * len(pruned) - sum(pruned)
        lines.append(
            paragraph(f"Pruning has saved {figure.epochs(saved)} epochs of those that were not trained to the end.")
        )
    head = ("State", "Trials", "Epochs", "Time", "Time an epoch")
    return section("cost", "What it cost", table(head, rows), *lines)


def _sums(group):
    epochs, seconds = (sum(trial[key] for trial in group) for key in ("epochs", "seconds"))
    each = f"{seconds / epochs:.3g} s" if epochs else "–"
    return f"{len(group):,}", figure.epochs(epochs), figure.duration(seconds), each


def left_out(record: Record) -> Section | None:
    """What has failed, and why; trials of one reason together."""
    reasons: dict[str, list[Any]] = {}
    for trial in record["trials"]:
        if trial["state"] in ("failed", "lost"):
            reasons.setdefault(trial["why"] or f"{trial['state']}, for no known reason", []).append(trial)
    if not reasons:
        return None
    rows = []
    for why, group in sorted(reasons.items(), key=lambda entry: -len(entry[1])):
        which = [f"{trial['number']}: {figure.parameters(trial)}" for trial in group[:TOLD]]
        rows.append((label(why, 400), len(group), "; ".join([*which, *(["…"] if group[TOLD:] else [])])))
    return section("left-out", "What was left out", table(("Why", "Trials", "Which"), rows, words=(0, 2)))


def about(record: Record) -> Section:
    """What the search is."""
    limit = {key: value for key, value in record["budget"].items() if key != "spent_epochs"}
    rows = [
        ("Config", tag("code", label(str(record["name"]), 200))),
        ("Space", unordered(tag("code", label(str(d.get("text") or d["key"]), 200)) for d in record["space"])),
        ("Rate per batch", record.get("rate_per_batch") or None),
        ("Objectives", ", ".join(f"{figure.name(o)} ({'highest' if o['best'] == 'max' else 'lowest'})"
                                 for o in record["objectives"])),
        ("Sampler", record["sampler"]),
        ("Pruner", record["pruner"]),
        ("Seed", record["seed"]),
        ("Budget", ", ".join(f"{value:,g} {key}" for key, value in limit.items()) or None),
        ("State", record["state"]),
    ]  # fmt: skip
    known = facts((name, value) for name, value in rows if value is not None)
    return section("search", "The search", known)


def _parameter(trial, key):
    return figure.parameter(trial["params"][key]) if key in trial["params"] else ""


def _codes(names):
    """Keys as heads of columns, which break after a dot."""
    return [tag("code", join(label(name).split("."), Markup(".<wbr>")), style=NARROW) for name in names]
