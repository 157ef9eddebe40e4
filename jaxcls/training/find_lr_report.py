"""What a learning-rate range test prints and writes."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxcls.errors import UserError
from jaxcls.training import find_lr
from jaxcls.training.find_lr import Suggestion, Sweep

ROWS = 15  # of the table that is printed


def table(measured: Sweep, chosen: Suggestion | None) -> Iterator[str]:
    """Lines of rates and losses, the suggestion's among them."""
    n = len(measured.rates)
    shown = set(np.linspace(0, n - 1, min(n, ROWS)).round().astype(int).tolist())
    near = None if chosen is None else int(np.argmin(np.abs(np.log(measured.rates / chosen.rate))))
    yield f"{'rate':>10}  {'loss':>9}  {'smoothed':>9}"
    for i in sorted(shown | ({near} if near is not None else set())):
        mark = "  <- suggested" if i == near else ""
        yield f"{measured.rates[i]:10.3g}  {measured.losses[i]:9.4g}  {measured.smoothed[i]:9.4g}{mark}"
    if measured.diverged:
        yield "then the loss diverged"


def write(measured: Sweep, chosen: Suggestion | None, folder: Path, title: str) -> tuple[Path, Path]:
    """Writes the figure and the numbers; returns their paths. Raises UserError where they can't be written."""
    picture, numbers = folder / "find_lr.png", folder / "find_lr.csv"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        find_lr.draw(measured, chosen, f"learning-rate range test, {title}").savefig(picture, dpi=150)
        with open(numbers, "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["step", "learning_rate", "loss", "smoothed"])
            columns = (measured.rates, measured.losses, measured.smoothed)
            rows.writerows([i, *map(float, row)] for i, row in enumerate(zip(*columns, strict=True)))
    except OSError as error:
        raise UserError(f"{folder} can't be written: {error.strerror or error}; choose another --out.") from error
    return picture, numbers
