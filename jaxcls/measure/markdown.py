"""Tables and numbers of Markdown that can be read in a terminal, too."""

from collections.abc import Sequence

from jaxcls.measure import compare
from jaxcls.text import printable

CELL = 80  # characters of a name or a setting in a table


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with columns padded; the first is text, the others stand to the right."""
    cells = [[printable(cell, CELL).replace("|", "\\|") for cell in row] for row in (heads, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(heads))]
    sides = ("<", *">" * (len(heads) - 1))
    lines = [f"| {' | '.join(map(format, row, map('{}{}'.format, sides, widths)))} |" for row in cells]
    rule = "|" + "|".join("-" * (w + 2) if not i else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def percent(value: float | None, sign: str = "") -> str:
    """A share in percent; "" for None."""
    return "" if value is None else f"{100 * value:{sign}.2f}"


def interval(pair: Sequence[float] | None, sign: str = "") -> str:
    """Both ends in percent; "" for None."""
    return "" if pair is None else f"{100 * pair[0]:{sign}.2f} to {100 * pair[1]:{sign}.2f}"


def number(value: float | None, digits: int = 4) -> str:
    """With so many decimals; "" for None."""
    return "" if value is None else f"{value:.{digits}f}"


def rate(value: float | None) -> str:
    """Three digits, so that a slow run is not one of 0."""
    return "" if value is None else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def chance(value: float) -> str:
    """A p-value."""
    return compare.p_text(value).removeprefix("= ")
