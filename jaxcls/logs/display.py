"""How the console shows values, time and progress."""

from collections.abc import Collection
from typing import Any

SHARES = ("accuracy", "top1", "top5")  # figures in percent, where a task does not say which


def format_value(name: str, value: Any, shares: Collection[str] = SHARES) -> str:
    """A value with its name, as the console shows it: shares in percent, everything else with four digits.

    Args:
      name: of the value; words after a prefix count as well, "validation_accuracy" and "validation accuracy" as
        "accuracy".
      value: anything `float` takes.
      shares: names of figures that are shares of one.
    """
    value, text = float(value), name.replace("_", " ")
    if any(f" {text}".endswith(f" {share.replace('_', ' ')}") for share in shares):
        return f"{text} {100 * value:.2f} %"
    return f"{text} {value:.4g}"


def rate(value: float) -> str:
    """So many a second, as people read it: whole numbers from ten on, else three digits."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.3g}"


def time_left(seconds: float, steps_done: int, steps_left: int) -> str:
    """What the steps that are left will take at the pace of those done, "1:02:03 left"; "" where nothing is known."""
    if steps_left <= 0 or steps_done <= 0:  # done, or no pace known yet
        return ""
    minutes, seconds = divmod(round(seconds / steps_done * steps_left), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left"


def bar(position: str, step: int, total: int, left: str, below: str) -> Any:
    """Two lines: where training is, and the values below. The bar takes what room there is."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    top = Table.grid(padding=(0, 1), expand=True)
    for ratio in (None, 1, None, None):
        top.add_column(ratio=ratio, no_wrap=True)
    steps = f"{step}/{total}"
    top.add_row(position, ProgressBar(total=max(1, total), completed=step), steps, Text(left, style="cyan"))
    return Group(top, Text(below, no_wrap=True, overflow="ellipsis"))


def spinner(console: Any, text: str) -> Any:
    """A turning sign, a text and the time that has gone by."""
    from rich.markup import escape
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn(escape(text)), TimeElapsedColumn()
    progress = Progress(*columns, console=console, transient=True, refresh_per_second=4)
    progress.add_task("", total=None)
    return progress
