"""Predicts any number of pictures: reads them ahead, answers batch by batch, writes rows in the order of the input.

Whatever answers, a run or a file; without JAX.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jaxcls.data import listing
from jaxcls.data.pipeline import default_threads
from jaxcls.measure import doubt
from jaxcls.predict import beside, resuming, set_output
from jaxcls.predict.base import BasePredictor
from jaxcls.predict.named import Pictures
from jaxcls.predict.output import FORMATS, Form, open_output
from jaxcls.predict.progress import Interruption, Progress
from jaxcls.predict.reading import Picture, ahead, batches, paths, read
from jaxcls.predict.resuming import Kept
from jaxcls.predict.sharding import Entry, Shard, numbered
from jaxcls.text import printable


@dataclasses.dataclass(frozen=True)
class Options:
    """What to write and how to work.

    Attributes:
      form: "table", "jsonl" or "csv".
      out: the file, None for the standard output.
      top: how many classes are listed; 0 for all.
      batch: pictures at a time.
      threads: that read; None for one a core.
      shard: the part of the pictures that is predicted; None for all.
      resume: None to replace the file; else what its rows are made with, beside the model (resuming.made_with), and
        whole rows of the file are kept.
    """

    form: str = "table"
    out: Path | None = None
    top: int = 5
    batch: int = 32
    threads: int | None = None
    shard: Shard | None = None
    resume: Mapping[str, Any] | None = None


class Draws(Protocol):
    """What adds heat maps to answers (predict.heatmaps)."""

    def draw(
        self, images: np.ndarray, answers: list[dict[str, Any]], names: Sequence[str], places: Sequence[int]
    ) -> None:
        """Of pictures with these names and numbers."""


def run(
    predictor: BasePredictor,
    pictures: Sequence[str | Pictures],
    options: Options,
    interruption: Interruption,
    heatmaps: Draws | None = None,
) -> int:
    """Predicts pictures; returns the exit status: 0, or 1 where no picture could be predicted.

    Args:
      predictor: of a run, or of a file.
      pictures: files, folders, patterns, "-" for paths from stdin, sets (named.opened).
      options: what to write.
      interruption: holds signals off while rows are written.
      heatmaps: draws them, or None.

    Raises:
      UserError: where something can't be written, or the predictor can't answer at all.
    """
    told = beside.join(pictures, predictor.columns, predictor.title)
    form = (set_output.FORMATS if predictor.sets else FORMATS)[options.form](
        classes=predictor.classes,
        top=min(options.top, len(predictor.classes)),
        heatmap=bool(heatmaps),
        beside=doubt.names(predictor.decision),
    )
    left_out = listing.Others()
    moving = predictor.clips
    entries = numbered(paths(pictures, left_out, clips=moving), options.shard)
    with (
        resumed(predictor, options, form, entries) as kept,
        open_output(form, options.out, interruption, kept.end) as output,
    ):
        progress = Progress(quiet=output.terminal)
        for note in [*notes(predictor, options, kept), *told]:
            progress.note(note)
        if "-" not in pictures:
            progress.count(lambda: sum(1 for _ in numbered(paths(pictures, clips=moving), options.shard)) - kept.rows)
        interruption.closing = lambda: progress.close(output.name, interrupted=True)
        threads = options.threads or default_threads()
        get = lambda entry: (entry[0], read(predictor.prepare, *entry[1:]))  # noqa: E731
        with contextlib.closing(ahead(get, entries, threads, 2 * options.batch)) as prepared:
            for batch in batches(prepared, options.batch):
                rows = answer(predictor, batch, options.top, heatmaps)
                output.write(rows)
                failed = [row for row in rows if "error" in row]
                for row in failed:
                    progress.note(printable(f"skipped {row['path']}: {row['error']}"))
                progress.add(len(rows), len(failed))
        for line in listing.told(left_out.reasons("")):
            progress.note(line)
        progress.close(output.name)
    done, failures = progress.done + kept.rows, progress.failed + kept.failed
    return 0 if done > failures or (options.shard and not done) else 1


@contextlib.contextmanager
def resumed(predictor: BasePredictor, options: Options, form: Form, entries: Iterator[Entry]) -> Iterator[Kept]:
    """What the output holds already of `entries`, which begin behind it then; nothing where it is replaced.

    Raises:
      UserError: where it was begun with something else (resuming.kept).
    """
    if options.out is None or options.resume is None:
        if options.out is not None:
            with contextlib.suppress(OSError):
                resuming.state(options.out).unlink(missing_ok=True)  # of the rows that go now
        yield Kept()
        return
    with resuming.alone(options.out):
        made = resuming.made_with(
            predictor, format=options.form, top=options.top, shard=options.shard, **options.resume
        )
        yield resuming.kept(options.out, options.form, form.header(), made, entries)


def notes(predictor: BasePredictor, options: Options, kept: Kept) -> Iterator[str]:
    """Lines before the first picture."""
    yield title(predictor)
    yield from (f"note: {note}" for note in predictor.notes)
    if options.shard:
        yield f"part {options.shard} of the pictures"
    if kept.rows:
        yield f"{kept.rows:,} rows of {options.out} stay; on from there"


def title(predictor: BasePredictor) -> str:
    """A line about the model."""
    decision, calibrated = predictor.decision, ""
    if decision and predictor.calibrates:
        how = "class by class" if predictor.sets else f"temperature {decision['temperature']:.3g}"
        calibrated = f"; calibrated ({how})"
    kind = "costs" if decision and decision.get("costs") else "thresholds"
    subject = "labels are" if predictor.sets else "the class is"
    decides = f"; {subject} what the stored {kind} decide" if predictor.decides else ""
    several = ", several a picture" if predictor.sets else ""
    return f"{predictor.title}: {len(predictor.classes)} classes{several}{calibrated}{decides}"


def answer(
    predictor: BasePredictor, batch: Sequence[tuple[int, Picture]], top: int, heatmaps: Draws | None
) -> list[dict[str, Any]]:
    """The rows of a batch of (number in the input, picture): path with its answer, or with error."""
    good = [(place, p.path, p.image) for place, p in batch if p.image is not None]
    answers: list[dict[str, Any]] = []
    if good:
        places, names, images = zip(*good, strict=True)
        if predictor.columns:
            answers = predictor.rows(np.stack(images), top, np.stack([name.beside for name in names]))
        else:
            answers = predictor(np.stack(images), top)
        if heatmaps:
            heatmaps.draw(np.stack(images), answers, names, places)
    rows = iter(answers)
    return [
        {"path": picture.path, **(next(rows) if picture.image is not None else {"error": picture.problem})}
        for _, picture in batch
    ]
