"""A comparison of runs (comparison.py) as Markdown."""

import json
from typing import Any

from jaxcls.measure.markdown import chance, interval, number, percent, rate
from jaxcls.measure.markdown import table as markdown_table
from jaxcls.measure.multilabel import comparison_text as of_sets
from jaxcls.text import lines, printable

MEANING = {
    "pictures": (
        "McNemar's test and the bootstrap interval are about these trained models on other pictures like these: would "
        "the one still be ahead of the other? Another seed may turn the order round."
    ),
    "seeds": (
        "Welch's test is about the settings: would other seeds, on these pictures, come out in the same order? It says "
        "nothing about other pictures."
    ),
    "tree": (
        "At each level the answer is the group with the largest summed probability. Severity is the height of the "
        "lowest common ancestor of answer and truth: a mistake's, and over all pictures."
    ),
    "holm": "p is corrected for {n} comparisons (Holm): with enough of them, some always look like a difference.",
}


def markdown(report: dict[str, Any]) -> str:
    """A report (`comparison.report`) as Markdown that can be read in a terminal, too."""
    parts = [
        f"# {len(report['runs'])} runs on {report['split']}",
        *[f"**{printable(line)}**" for line in report["verdict"]],
    ]
    if report["labels"] == "sets":
        parts += [of_sets.runs(report["runs"]), *of_sets.pairs(report["pairs"])]
    else:
        parts += [_runs_part(report["runs"]), *_pairs_part(report["pairs"])]
    parts += _seeds_part(report)
    parts += _tree_part(report["tree"]) if "tree" in report else []
    several = max(len(report["pairs"]), len(report["over_seeds"]))
    if several > 1:
        parts.append(MEANING["holm"].format(n=several))
    parts.append(_changes_part(report))
    return "\n\n".join([*parts, *map(lines, report["notes"])]) + "\n"


def _runs_part(runs):
    heads = ["run", "accuracy %", "95 % interval", "pictures", "balanced %", "loss", "step", "parameters", "pictures/s"]
    rows = [
        (
            row["name"],
            percent(row["accuracy"]),
            interval(row["interval"]),
            str(row["count"]),
            percent(row["balanced_accuracy"]),
            number(row["loss"]),
            str(row["step"]),
            f"{row['parameters']:,}" if row["parameters"] else "",
            rate(row["pictures_per_second"]),
        )
        for row in runs
    ]
    return markdown_table(heads, rows)


def _pairs_part(pairs):
    if not pairs:
        return []
    heads = ["run", "less", "difference %", "95 % bootstrap", "it alone right", "other alone", "McNemar p", "Holm p"]
    rows = [
        (
            pair["b"],
            pair["a"],
            percent(pair["difference"], "+"),
            interval(pair["interval"], "+"),
            str(pair["only_b"]),
            str(pair["only_a"]),
            chance(pair["p"]),
            chance(pair["p_holm"]),
        )
        for pair in pairs
    ]
    return ["## Picture by picture", markdown_table(heads, rows), MEANING["pictures"]]


def _changes_part(report):
    """A column for each setting; where its runs differ, all their values."""
    if not report["changes"]:
        return "The configs do not differ."
    runs, settings = report["runs"], report["settings"]
    groups = [[i for i, row in enumerate(runs) if row["setting"] == k] for k in range(len(settings))]
    rows = [
        (key, *(", ".join(dict.fromkeys(_value(values[i]) for i in group)) for group in groups))
        for key, values in report["changes"].items()
    ]
    return f"## What differs\n\n{markdown_table(('key', *(entry['name'] for entry in settings)), rows)}"


def _seeds_part(report):
    settings, tests = report["settings"], report["over_seeds"]
    if all(entry["sd"] is None for entry in settings):
        return []
    rows = [
        (entry["name"], str(len(entry["runs"])), percent(entry["mean"]), percent(entry["sd"])) for entry in settings
    ]
    parts = ["## Over seeds", markdown_table(("setting", "runs", "mean %", "sd"), rows)]
    if tests:
        rows = [
            (
                test["b"],
                test["a"],
                percent(test["difference"], "+"),
                interval(test["interval"], "+"),
                chance(test["p"]),
                chance(test["p_holm"]),
            )
            for test in tests
        ]
        heads = ("setting", "less", "difference %", "95 % interval", "Welch p", "Holm p")
        parts += [markdown_table(heads, rows), MEANING["seeds"]]
    return parts


def _tree_part(tree):
    """Accuracy by level, severities, and the tests of each level."""
    levels = [f"level {row['level']} %, {row['groups']} groups" for row in tree["levels"]]
    rows = [
        (row["name"], *map(percent, row["accuracy"]), number(row["severity"], 3), number(row["cost"]))
        for row in tree["runs"]
    ]
    parts = [
        "## By level of the tree",
        markdown_table(("run", *levels, "severity", "of all pictures"), rows),
        MEANING["tree"],
    ]
    tests = [
        (
            test["b"],
            test["a"],
            f"level {test['level']} %",
            percent(test["difference"], "+"),
            interval(test["interval"], "+"),
            chance(test["p"]),
            chance(test["p_holm"]),
        )
        for test in tree["pairs"]
    ]
    tests += [
        (
            cost["b"],
            cost["a"],
            "severity, all pictures",
            _signed(cost["difference"]),
            " to ".join(map(_signed, cost["interval"] or ())),
            "",
            "",
        )
        for cost in tree["costs"]
    ]
    heads = ("run", "less", "of", "difference", "95 % bootstrap", "McNemar p", "Holm p")
    return [*parts, markdown_table(heads, tests)] if tests else parts


def _signed(value):
    return "" if value is None else f"{value:+.4f}"


def _value(value):
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if text != "" else "–" if value is None else '""'
