"""The whole search: reads every picture, puts together what is wrong with them, writes the CSV and the sheet."""

import dataclasses
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from jaxcls import files
from jaxcls.data import groups, query
from jaxcls.data.cleaning import duplicates, features, labels, outliers, review, set_labels
from jaxcls.data.cleaning.duplicates import Link
from jaxcls.data.cleaning.findings import Finding, Findings, ordered
from jaxcls.data.cleaning.progress import Progress
from jaxcls.data.cleaning.survey import Collection, Survey, collect, folder_of, survey
from jaxcls.errors import UserError
from jaxcls.text import printable

CHECKS = {
    "unreadable": ("unreadable",),
    "duplicates": ("label_conflict", "leak", "duplicate", "near_duplicate"),
    "outliers": ("outlier",),
    "labels": ("label", "low_confidence"),
}
HANDMADE = 64  # side of pictures for features without a network


@dataclasses.dataclass(frozen=True)
class Options:
    """What is looked for; `jaxcls clean --help` says what each means.

    `method` is one of labels.METHODS, or `none`: only labels below `confidence` are reported.
    """

    checks: Sequence[str] = tuple(CHECKS)
    radius: int = duplicates.RADIUS
    correlation: float = duplicates.LEAST
    folds: int = 5
    confidence: float = 0.05
    method: str = "none"
    seed: int = 0

    @property
    def needs_features(self) -> bool:
        """Whether features of the pictures are used."""
        return bool({"outliers", "labels"} & set(self.checks))


@dataclasses.dataclass(frozen=True)
class Embedding:
    """A function uint8 [b, side, side, 3] -> float32 [b, d], b at most survey.CHUNK, and what it is in words."""

    function: Callable[[np.ndarray], np.ndarray] = features.handmade
    side: int = HANDMADE
    text: str = "gradients and colours, without a network (weak; see --weights)"


def search(
    name: str, data_dir: str | None, options: Options, out: Path, *, embedding: Embedding = Embedding(), most: int = 300
) -> bool:
    """Searches a set and prints a summary; where something is found, writes findings.csv, findings.html, groups.csv.

    Args:
      name, data_dir: the set, as `survey.collect` takes it.
      options: what is looked for.
      out: folder to write to; see `free_folder`.
      embedding: features, for outliers and labels.
      most: thumbnails of each problem.

    Returns:
      Whether something was found.
    """
    collection = collect(name, data_dir)
    embed = embedding.function if options.needs_features else None
    pictures = survey(collection, features=embed, side=embedding.side, progress=Progress("reading", "pictures"))
    findings, notes, links = Findings(collection), [], []
    if "unreadable" in options.checks:
        findings.unreadable(pictures)
    if "duplicates" in options.checks:
        print("comparing ...", file=sys.stderr)
        links = duplicates.find(pictures, options.radius, options.correlation)
        findings.copies(pictures, links)
    if embed:
        notes = [f"features: {printable(embedding.text)}", *_judge(options, collection, pictures, links, findings)]
    rows, title = ordered(findings.list), str(folder_of(name, data_dir) or name)
    text = summary(printable(title), options.checks, collection, rows, notes)
    print(text)
    if rows:
        _write(out, title, text, rows, collection, links, most)
    return bool(rows)


def _judge(
    options: Options, collection: Collection, pictures: Survey, links: list[Link], findings: Findings
) -> list[str]:
    """Outliers and labels, from the features; returns lines for the summary."""
    assert pictures.features is not None
    rows = pictures.readable
    values, given = pictures.features[rows], collection.labels[rows]
    if "outliers" in options.checks and len(rows):
        progress = Progress("looking for outliers", "classes")
        findings.outliers(outliers.outliers(values, given, options.seed, progress), rows)
    if "labels" not in options.checks:
        return []
    if (given < 0).all():
        return ["labels: not judged, there are none"]
    copies = duplicates.components(len(collection), links)[rows]
    if collection.sets:
        return _judge_sets(options, values, given, copies, rows, findings)
    fold = labels.folds(given, copies, options.folds, options.seed)
    judged = np.flatnonzero(fold >= 0)
    if len(np.unique(given[judged])) < 2:
        return ["labels: not judged, there are no two classes with two different pictures"]
    progress = Progress("predicting labels", "folds")
    probabilities, classes = labels.out_of_fold(values, given, fold, progress=progress)
    columns = np.searchsorted(classes, given[judged])
    learned = options.method != "none"
    suspects = labels.suspects(probabilities, columns, options.method if learned else labels.METHODS[0])
    if not learned:
        suspects = suspects._replace(rows=suspects.rows[:0])
    findings.labels(suspects, probabilities, columns, classes, rows[judged], options.confidence)
    right = np.mean(probabilities.argmax(1) == columns)
    notes = [f"labels: predictions (out of fold) agree with {right:.1%} of {len(judged):,} labels"]
    if learned:
        notes.append(
            f"        about {suspects.estimate:,.0f} are estimated to be wrong; too many if predictions are poor"
        )
    return notes


def _judge_sets(
    options: Options, values: np.ndarray, given: np.ndarray, copies: np.ndarray, rows: np.ndarray, findings: Findings
) -> list[str]:
    """As `_judge`, of the labels where they are sets."""
    fold = set_labels.folds(given, copies, options.folds, options.seed)
    progress = Progress("predicting labels", "folds")
    found = set_labels.judged(set_labels.out_of_fold(values, given, fold, progress=progress), given, options.method)
    if not found:
        return ["labels: not judged, there is no class that two different pictures have and others have not"]
    findings.set_labels(found, rows, options.confidence)
    right = np.mean(np.concatenate([each.probabilities.argmax(1) == each.given for each in found]))
    count, out = sum(len(each.rows) for each in found), len(given[0]) - len(found)
    left = f"; {out:,} classes have too few pictures to be judged" if out else ""
    notes = [f"labels: predictions (out of fold) agree with {right:.1%} of {count:,} pairs of picture and class{left}"]
    if options.method != "none":
        wrong = sum(each.suspects.estimate for each in found)
        notes.append(f"        about {wrong:,.0f} are estimated to be wrong; too many if predictions are poor")
    return notes


def summary(
    title: str, checks: Sequence[str], collection: Collection, findings: list[Finding], notes: list[str]
) -> str:
    """The result as a few lines."""
    splits = [f"{split} {collection.splits.count(split):,}" for split in dict.fromkeys(collection.splits) if split]
    head = f"{title}: {len(collection):,} pictures, {len(collection.classes):,} classes"
    lines = [f"{head}{'; ' if splits else ''}{', '.join(splits)}"]
    counts = review.counts(findings)
    for problem in (problem for check in CHECKS if check in checks for problem in CHECKS[check]):
        count = counts[problem]
        copies = len({x.group for x in findings if x.problem == problem and x.group})
        move = sum(x.problem == problem and x.action == "move" for x in findings)
        extra = [f"in {copies:,} groups"] if copies else []
        extra += [f"{move:,} start as `move`"] if move else []
        lines.append(f"  {problem:15}{count:7,}{' pictures ' if extra else ''}{', '.join(extra)}")
    return "\n".join([*lines, *(f"  {note}" for note in notes)])


def _write(
    out: Path, title: str, text: str, findings: list[Finding], collection: Collection, links: list[Link], most: int
) -> None:
    """Writes the files and says how to go on."""
    out.mkdir(parents=True, exist_ok=True)
    table, page = out / "findings.csv", out / "findings.html"
    review.write_csv(table, findings)
    head = f"What was found in {title}"
    review.write_html(page, head, text, findings, collection, most=most, progress=Progress("drawing", "thumbnails"))
    print(f"  written      {printable(table)}, {printable(page)}")
    if links:
        path = out / "groups.csv"
        groups.write(path, collection.ids, duplicates.components(len(collection), links).tolist())
        shown = printable(path)
        print(f"               {shown}: copies stay in one split with --config.data.group_by={shown}")
    if collection.root:
        command = shlex.join(["jaxcls", "clean", title, "--apply", str(table)])
        print(f"Review the sheet (or edit the column `action`), then: {printable(command)}")


def free_folder(out: Path | None, name: str) -> Path:
    """Where to write: `out`, or a new folder in runs/; never over findings that may have been edited.

    Raises:
      UserError: `out` has findings.
    """
    if out:
        if (out / "findings.csv").exists():
            raise UserError(f"--out {out} has a findings.csv already, perhaps with your choices; name another")
        return out
    stem = f"clean-{files.path(query.path(name) or name).resolve().name}"
    out, number = Path("runs") / stem, 1
    while (out / "findings.csv").exists():
        number += 1
        out = Path("runs") / f"{stem}-{number}"
    return out
