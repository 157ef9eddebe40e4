"""`costs.describe` as tables for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

COUNTS = ("parameters", "multiply_adds", "activations")


def show(report: Mapping[str, Any]) -> None:
    """Prints a report."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(100, console.width))  # do not wrap for a file or a pipe
    fields = "".join(f", {name}={value}" for name, value in report["fields"].items())
    classes = f"{report['classes']:,} classes" if report["classes"] else "no classifier"
    title = f"{report['model']}{fields}: {'x'.join(map(str, report['picture']))}, {classes}"
    console.print(f"{title}, {report['precision']}", markup=False)
    if report["by"] == "parameter":
        console.print(f"\n{_parameters(report['rows'])}\n", markup=False, soft_wrap=True)
    else:
        console.print(_parts(report))
    published = f" (published: {report['published_gmacs']} G)" if "published_gmacs" in report else ""
    statistics = f", running statistics {_size(report['statistics_bytes'])}" if report["statistics_bytes"] else ""
    lines = (
        f"multiply-adds   {report['multiply_adds'] / 1e9:#.4g} G{published}",
        f"parameters      {_size(report['parameter_bytes'])}{statistics}",
        f"training keeps  {_size(report['kept_bytes_per_picture'])} a picture for the backward pass",
    )
    console.print("\n".join(lines), markup=False)
    if "measured" in report:
        console.print(f"\n{report['device']} ({report['platform']}, {report['cpus']} CPU cores), evaluation")
        console.print(_measured(report["measured"]))


def _parameters(rows):
    """As a table of clu, without values."""
    import jax
    from clu import parameter_overview

    shapes = {row["name"]: jax.ShapeDtypeStruct(row["shape"], row["dtype"]) for row in rows}
    return parameter_overview.get_parameter_overview(shapes, include_stats=False)


def _parts(report):
    numbers = [(title.replace("_", "-"), "right") for title in COUNTS]
    columns = [("", "left"), ("class", "left"), ("output", "left"), *numbers]
    rows = [(row["name"], row["kind"], "x".join(map(str, row["output"])), *_counts(row)) for row in report["rows"]]
    if not any(row["kind"] for row in report["rows"]):
        columns.pop(1)
        rows = [(row[0], *row[2:]) for row in rows]
    total = ("total", *[""] * (len(columns) - len(COUNTS) - 1), *_counts(report))
    return _table(columns, rows, total)


def _measured(measured):
    titles = ("batch", "latency ms", "least ms", "runs", "pictures/s", "peak", "compile s")
    rows = [
        (
            str(m["batch"]),
            f"{m['latency_ms']:.2f}",
            f"{m['latency_ms_min']:.2f}",
            str(m["runs"]),
            f"{m['pictures_per_second']:,.1f}",
            _size(m["peak_bytes"]),
            f"{m['compile_s']:.1f}",
        )
        for m in measured
    ]
    return _table([(title, "right") for title in titles], rows)


def _counts(row) -> tuple[str, ...]:
    return tuple(f"{row[key]:,}" for key in COUNTS)


def _table(columns: Sequence[tuple[str, Any]], rows: Sequence[Sequence[str]], total: Sequence[str] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_footer=bool(total), pad_edge=False)
    for i, (title, side) in enumerate(columns):
        footer = total[i] if total else ""
        table.add_column(title, justify=side, footer=footer, overflow="fold", no_wrap=side == "right")
    for row in rows:
        table.add_row(*row)
    return table


def _size(nbytes: int | None) -> str:
    if nbytes is None:
        return "unknown"
    unit, power = ("MiB", 20) if nbytes >= 2**20 else ("KiB", 10)
    return f"{nbytes / 2**power:,.1f} {unit}"
