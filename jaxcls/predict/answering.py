"""Predicts any number of pictures: reads them ahead, answers batch by batch, writes rows in the order of the input.

Whatever answers, a run or a file; without JAX.
"""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jaxcls.data import listing
from jaxcls.data.pipeline import default_threads
from jaxcls.measure import doubt
from jaxcls.predict.base import BasePredictor
from jaxcls.predict.output import open_output
from jaxcls.predict.progress import Interruption, Progress
from jaxcls.predict.reading import Picture, ahead, batches, paths, read
from jaxcls.text import printable


@dataclasses.dataclass(frozen=True)
class Options:
    """What to write and how to work.

    Attributes:
      form: "table", "jsonl" or "csv".
      out: the file, None for the standard output.
      top: how many classes are listed.
      batch: pictures at a time.
      threads: that read; None for one a core.
    """

    form: str = "table"
    out: Path | None = None
    top: int = 5
    batch: int = 32
    threads: int | None = None


class Draws(Protocol):
    """What adds heat maps to answers (predict.heatmaps)."""

    def draw(
        self, images: np.ndarray, answers: list[dict[str, Any]], names: Sequence[str], places: Sequence[int]
    ) -> None:
        """Of pictures with these names and numbers."""


def run(
    predictor: BasePredictor,
    pictures: Sequence[str],
    options: Options,
    interruption: Interruption,
    heatmaps: Draws | None = None,
) -> int:
    """Predicts pictures; returns the exit status: 0, or 1 where no picture could be predicted.

    Args:
      predictor: of a run, or of a file.
      pictures: files, folders, patterns, "-" for paths from stdin.
      options: what to write.
      interruption: holds signals off while rows are written.
      heatmaps: draws them, or None.

    Raises:
      UserError: where something can't be written, or the predictor can't answer at all.
    """
    fields = {
        "classes": predictor.classes,
        "top": min(options.top, len(predictor.classes)),
        "heatmap": bool(heatmaps),
        "beside": doubt.names(predictor.decision),
    }
    with open_output(options.form, options.out, interruption, **fields) as output:
        progress = Progress(quiet=output.terminal)
        progress.note(title(predictor))
        for note in predictor.notes:
            progress.note(f"note: {note}")
        if "-" not in pictures:
            progress.count(lambda: sum(1 for _ in paths(pictures)))
        interruption.closing = lambda: progress.close(output.name, interrupted=True)
        threads = options.threads or default_threads()
        left_out = listing.Others()
        entries = paths(pictures, left_out)
        prepared = ahead(lambda entry: read(predictor.prepare, *entry), entries, threads, 2 * options.batch)
        with contextlib.closing(prepared):
            for number, batch in batches(prepared, options.batch):
                rows = answer(predictor, number, batch, options.top, heatmaps)
                output.write(rows)
                failed = [row for row in rows if "error" in row]
                for row in failed:
                    progress.note(printable(f"skipped {row['path']}: {row['error']}"))
                progress.add(len(rows), len(failed))
        for line in listing.told(left_out.reasons("")):
            progress.note(line)
        progress.close(output.name)
    return 0 if progress.done > progress.failed else 1


def title(predictor: BasePredictor) -> str:
    """A line about the model."""
    decision = predictor.decision
    changed = decision is not None and decision["temperature"] != 1
    calibrated = f"; calibrated (temperature {decision['temperature']:.3g})" if decision and changed else ""
    kind = "costs" if decision and decision["costs"] else "thresholds"
    decides = f"; the class is what the stored {kind} decide" if predictor.decides else ""
    return f"{predictor.title}: {len(predictor.classes)} classes{calibrated}{decides}"


def answer(
    predictor: BasePredictor, number: int, batch: Sequence[Picture], top: int, heatmaps: Draws | None
) -> list[dict[str, Any]]:
    """The rows of a batch: path with class, probability and top, or with error; `number` pictures came before it."""
    good = [(place, p.path, p.image) for place, p in enumerate(batch, number + 1) if p.image is not None]
    answers: list[dict[str, Any]] = []
    if good:
        places, names, images = zip(*good, strict=True)
        answers = predictor(np.stack(images), top)
        if heatmaps:
            heatmaps.draw(np.stack(images), answers, names, places)
    rows = iter(answers)
    return [
        {"path": picture.path, **(next(rows) if picture.image is not None else {"error": picture.problem})}
        for picture in batch
    ]
