"""A comparison of runs (comparison.py) as Markdown."""

import json
from typing import Any

from jaxcls.measure import compare
from jaxcls.text import lines, printable

CELL = 80  # characters of a name or a setting in a table

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
    parts.append(_runs_part(report["runs"]))
    parts += _pairs_part(report["pairs"]) + _seeds_part(report)
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
            _percent(row["accuracy"]),
            _interval(row["interval"], ""),
            str(row["count"]),
            _percent(row["balanced_accuracy"]),
            _number(row["loss"]),
            str(row["step"]),
            f"{row['parameters']:,}" if row["parameters"] else "",
            _rate(row["pictures_per_second"]),
        )
        for row in runs
    ]
    return _table(heads, rows)


def _pairs_part(pairs):
    if not pairs:
        return []
    heads = ["run", "less", "difference %", "95 % bootstrap", "it alone right", "other alone", "McNemar p", "Holm p"]
    rows = [
        (
            pair["b"],
            pair["a"],
            _percent(pair["difference"], "+"),
            _interval(pair["interval"], "+"),
            str(pair["only_b"]),
            str(pair["only_a"]),
            _p(pair["p"]),
            _p(pair["p_holm"]),
        )
        for pair in pairs
    ]
    return ["## Picture by picture", _table(heads, rows), MEANING["pictures"]]


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
    return f"## What differs\n\n{_table(('key', *(entry['name'] for entry in settings)), rows)}"


def _seeds_part(report):
    settings, tests = report["settings"], report["over_seeds"]
    if all(entry["sd"] is None for entry in settings):
        return []
    rows = [
        (entry["name"], str(len(entry["runs"])), _percent(entry["mean"]), _percent(entry["sd"])) for entry in settings
    ]
    parts = ["## Over seeds", _table(("setting", "runs", "mean %", "sd"), rows)]
    if tests:
        rows = [
            (
                test["b"],
                test["a"],
                _percent(test["difference"], "+"),
                _interval(test["interval"], "+"),
                _p(test["p"]),
                _p(test["p_holm"]),
            )
            for test in tests
        ]
        heads = ("setting", "less", "difference %", "95 % interval", "Welch p", "Holm p")
        parts += [_table(heads, rows), MEANING["seeds"]]
    return parts


def _tree_part(tree):
    """Accuracy by level, severities, and the tests of each level."""
    levels = [f"level {row['level']} %, {row['groups']} groups" for row in tree["levels"]]
    rows = [
        (row["name"], *map(_percent, row["accuracy"]), _number(row["severity"], 3), _number(row["cost"]))
        for row in tree["runs"]
    ]
    parts = ["## By level of the tree", _table(("run", *levels, "severity", "of all pictures"), rows), MEANING["tree"]]
    tests = [
        (
            test["b"],
            test["a"],
            f"level {test['level']} %",
            _percent(test["difference"], "+"),
            _interval(test["interval"], "+"),
            _p(test["p"]),
            _p(test["p_holm"]),
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
    return [*parts, _table(heads, tests)] if tests else parts


def _table(heads, rows):
    """A Markdown table with columns padded; the first is text, the others stand to the right."""
    cells = [[printable(cell, CELL).replace("|", "\\|") for cell in row] for row in (heads, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(heads))]
    sides = ("<", *">" * (len(heads) - 1))
    lines = [f"| {' | '.join(map(format, row, map('{}{}'.format, sides, widths)))} |" for row in cells]
    rule = "|" + "|".join("-" * (w + 2) if not i else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _percent(value, sign=""):
    return "" if value is None else f"{100 * value:{sign}.2f}"


def _interval(pair, sign):
    return f"{100 * pair[0]:{sign}.2f} to {100 * pair[1]:{sign}.2f}"


def _number(value, digits=4):
    return "" if value is None else f"{value:.{digits}f}"


def _signed(value):
    return "" if value is None else f"{value:+.4f}"


def _rate(value):
    """Three digits, so that a slow run is not one of 0."""
    return "" if value is None else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def _p(value):
    return compare.p_text(value).removeprefix("= ")


def _value(value):
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if text != "" else "–" if value is None else '""'
