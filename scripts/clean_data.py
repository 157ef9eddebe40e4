"""Finds what is wrong with a set of pictures, for you to review, and moves files aside.

    python scripts/clean_data.py FOLDER                       # writes a CSV and an HTML sheet with thumbnails
    python scripts/clean_data.py FOLDER --model squeezenet1_1 --weights squeezenet1_1.safetensors
    python scripts/clean_data.py FOLDER --apply findings.csv  # moves what has `move` in the column `action`
    python scripts/clean_data.py --undo FOLDER.removed/journal.jsonl

It looks for unreadable files; identical, re-encoded, resized and mirrored copies; copies in different splits (leaks)
or with different labels (conflicts); outliers of each class; wrong labels. The last two need features of the pictures.
With --weights they come from that network, and confident learning says which labels are probably wrong. Without, they
are gradients and colours, much weaker: only labels that look very improbable (--confidence) are reported. A network
that has been trained on these very labels knows them by heart; take another one.

FOLDER may be another source, too: tfds/cifar10, digits; then nothing can be moved. Files go to FOLDER.removed (or
--aside), never over others, and are never deleted. Exit status: 0 nothing found, or moved as wished; 1 something found,
or a file that could not be put back; 2 not possible, with one line that says why.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxcls.cli.entry import entry_point
from jaxcls.data import groups
from jaxcls.data.cleaning import duplicates, features, labels, moves, outliers, review
from jaxcls.data.cleaning.findings import Findings, ordered
from jaxcls.data.cleaning.survey import CHUNK, Collection, Survey, collect, survey
from jaxcls.errors import UserError

CHECKS = {
    "unreadable": ("unreadable",), "duplicates": ("label_conflict", "leak", "duplicate", "near_duplicate"),
    "outliers": ("outlier",), "labels": ("label", "low_confidence"),
}  # fmt: skip
HANDMADE = 64  # side of pictures for features without a network


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    if args.undo:
        return undo(args)
    return apply(args) if args.apply else find(args)


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="class folders, with or without split folders")
    parser.add_argument("--data_dir", help="where sets of tensorflow-datasets are kept")
    parser.add_argument("--checks", nargs="+", choices=list(CHECKS), default=list(CHECKS), help="default all")
    parser.add_argument("--model", help="name of the network for the features, with --weights")
    parser.add_argument("--weights", help="file of its weights (.safetensors, .pth), or hf-hub:ORG/NAME")
    parser.add_argument("--size", type=int, help="side of the pictures for it (default: the published one)")
    parser.add_argument("--normalize", default="imagenet", help="as config.data.normalize (default %(default)s)")
    parser.add_argument("--radius", type=int, default=duplicates.RADIUS, help="bits of 64 in which the hashes of near "
                        "duplicates may differ, 0 to 11 (default %(default)s)")  # fmt: skip
    parser.add_argument("--correlation", type=float, default=duplicates.LEAST, help="the least that near duplicates "
                        "have (default %(default)s)")  # fmt: skip
    parser.add_argument("--folds", type=int, default=5, help="of the predictions of labels (default %(default)s)")
    parser.add_argument("--confidence", type=float, default=0.05, help="report pictures whose label has a lower "
                        "probability (default %(default)s)")  # fmt: skip
    parser.add_argument("--method", choices=(*labels.METHODS, "none"), help="of confident learning (default: "
                        "class_rate with --weights, none without: it would suspect too many right labels)")  # fmt: skip
    parser.add_argument("--out", type=Path, help="folder for findings.csv and findings.html (default runs/clean-NAME)")
    parser.add_argument("--show", type=int, default=300, help="thumbnails of each problem (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the folds (default %(default)s)")
    parser.add_argument("--apply", type=Path, metavar="CSV", help="move the files aside that it says")
    parser.add_argument("--aside", type=Path, metavar="DIR", help="where to (default FOLDER.removed)")
    parser.add_argument("--undo", type=Path, metavar="JOURNAL", help="put back what was moved")
    args = parser.parse_args(argv)
    if not args.folder and not args.undo:
        parser.error("name a folder")
    if bool(args.model) != bool(args.weights):
        parser.error("--model and --weights belong together")
    if not (0 <= args.radius <= 11 and args.folds >= 2 and (args.size is None or args.size >= 1) and args.seed >= 0):
        parser.error("--radius must be 0 to 11, --folds 2 or more, --size 1 or more, --seed not negative")
    return args


def apply(args) -> int:
    """--apply: moves files aside."""
    root = Path(args.folder).expanduser()
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; only files of a folder can be moved aside")
    aside = args.aside or moves.aside_of(root)
    paths = review.to_move(args.apply.expanduser())
    count = moves.apply(root, paths, aside, Progress("moving", "files"))
    print(f"{count:,} of {len(paths):,} files moved to {aside}" + (", the others before" * (count < len(paths))))
    if paths:
        print(f"put them back with: python scripts/clean_data.py --undo {aside / moves.JOURNAL}")
    return 0


def undo(args) -> int:
    """--undo: puts files back."""
    count, problems = moves.undo(args.undo.expanduser(), Progress("moving", "files"))
    print(f"{count:,} files put back")
    for problem in problems:
        print(f"not put back: {problem}", file=sys.stderr)
    return 1 if problems else 0


def find(args) -> int:
    """The search: writes the CSV and the sheet, prints a summary."""
    out = free_folder(args)
    embed, side, kind = feature_function(args)
    collection = collect(args.folder, args.data_dir)
    seen = survey(collection, features=embed, side=side, progress=Progress("reading", "pictures"))
    found, notes = Findings(collection), []
    if "unreadable" in args.checks:
        found.unreadable(seen)
    links = []
    if "duplicates" in args.checks:
        print("comparing ...", file=sys.stderr)
        links = duplicates.find(seen, args.radius, args.correlation)
        found.copies(seen, links)
    if embed:
        notes.append(f"features: {kind}")
        notes += judge(args, collection, seen, links, found)
    findings = ordered(found.list)
    text = summary(args, collection, findings, notes)
    print(text)
    if not findings:
        return 0
    out.mkdir(parents=True, exist_ok=True)
    review.write_csv(out / "findings.csv", findings)
    progress = Progress("drawing", "thumbnails")
    review.write_html(out / "findings.html", f"What was found in {args.folder}", text, findings, collection,
                      most=args.show, progress=progress)  # fmt: skip
    print(f"  written      {out / 'findings.csv'}, {out / 'findings.html'}")
    if links:
        path = out / "groups.csv"
        groups.write(path, collection.ids, duplicates.components(len(collection), links))
        print(f"               {path}: copies stay in one split with --config.data.group_by={path}")
    if collection.root:
        print(f"Review the sheet (or edit the column `action`), then: python scripts/clean_data.py {args.folder} "
              f"--apply {out / 'findings.csv'}")  # fmt: skip
    return 1


def judge(args, collection: Collection, seen: Survey, links, found: Findings) -> list[str]:
    """Outliers and labels, from the features; returns lines for the summary."""
    rows, notes = seen.readable, []
    values, given = seen.features[rows], collection.labels[rows]
    if "outliers" in args.checks and len(rows):
        progress = Progress("looking for outliers", "classes")
        found.outliers(outliers.outliers(values, given, args.seed, progress), rows)
    if "labels" in args.checks:
        groups = duplicates.components(len(collection), links)[rows]
        fold = labels.folds(given, groups, args.folds, args.seed)
        judged = np.flatnonzero(fold >= 0)
        if len(np.unique(given[judged])) < 2:
            return [*notes, "labels: not judged, there are no two classes with two different pictures"]
        progress = Progress("predicting labels", "folds")
        probabilities, classes = labels.out_of_fold(values, given, fold, progress=progress)
        columns = np.searchsorted(classes, given[judged])
        method = args.method or ("class_rate" if args.weights else "none")
        suspects = labels.suspects(probabilities, columns, labels.METHODS[0] if method == "none" else method)
        if method == "none":
            suspects = suspects._replace(rows=suspects.rows[:0])
        found.labels(suspects, probabilities, columns, classes, rows[judged], args.confidence)
        right = np.mean(probabilities.argmax(1) == columns)
        notes.append(f"labels: predictions (out of fold) agree with {right:.1%} of {len(judged):,} labels")
        if method != "none":
            notes.append(
                f"        about {suspects.estimate:,.0f} are estimated to be wrong; too many if predictions are poor"
            )
    return notes


def feature_function(args) -> tuple[Callable | None, int, str]:
    """(function of a batch, side of its pictures, what it is in words)."""
    if not {"outliers", "labels"} & set(args.checks):
        return None, HANDMADE, ""
    if args.weights:
        from jaxcls.models.published import PUBLISHED, Published

        side = args.size or PUBLISHED.get(args.model, Published("")).size
        kind = f"{args.model} with {args.weights}, {side} pixels"
        return network(args.model, args.weights, side, args.normalize), side, kind
    return features.handmade, HANDMADE, "gradients and colours, without a network (weak; see --weights)"


def network(name: str, weights: str, size: int, normalize: str = "imagenet") -> Callable[[np.ndarray], np.ndarray]:
    """A function uint8 [b, size, size, 3] -> float32 [b, d], b at most CHUNK, of a pretrained network.

    The features are the means over the picture of every stage but the last, and `pre_logits`: for other kinds of
    pictures than it was trained on, the early stages add much.

    Raises:
      UserError: unknown model or normalisation, unusable weights, pictures too small for the network.
    """
    import jax
    import jax.numpy as jnp

    from jaxcls import models
    from jaxcls.models import pretrained, weight_files
    from jaxcls.training import build

    if normalize not in build.NORMALIZE:
        raise UserError(f"--normalize {normalize} must be one of {', '.join(build.NORMALIZE)}")
    mean, std = (np.array(values, np.float32) for values in build.NORMALIZE[normalize])
    model = models.create(name, num_classes=0)
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    abstract = jax.eval_shape(model.init, jax.eval_shape(lambda: jax.random.key(0)), image)
    loaded, report = pretrained.match(model, abstract, weight_files.read(weights))
    if report.kept:
        raise UserError(f"{weights} lacks {', '.join(sorted(report.kept)[:3])}; features need all layers but the last")

    @jax.jit
    def embed(variables, batch):
        _, out = model.apply(variables, (batch.astype(jnp.float32) / 255 - mean) / std, train=False)
        stages = sorted(key for key in out if key.startswith("stage"))
        kept = [out[key] for key in (*stages[:-1], "pre_logits")]
        return jnp.concatenate([x.reshape(len(x), -1, x.shape[-1]).mean(1) for x in kept], axis=-1)

    def features_of(batch):
        padded = np.zeros((CHUNK, *batch.shape[1:]), np.uint8)  # one shape, one compilation
        padded[: len(batch)] = batch
        return np.asarray(embed(loaded, padded))[: len(batch)]

    return features_of


def free_folder(args) -> Path:
    """Where to write: never over findings that may have been edited.

    Raises:
      UserError: --out has findings.
    """
    if args.out:
        if (args.out / "findings.csv").exists():
            raise UserError(f"--out {args.out} has a findings.csv already, perhaps with your choices; name another")
        return args.out
    name = Path(args.folder).expanduser().resolve().name
    out, number = Path("runs") / f"clean-{name}", 1
    while (out / "findings.csv").exists():
        number += 1
        out = Path("runs") / f"clean-{name}-{number}"
    return out


def summary(args, collection: Collection, findings, notes: list[str]) -> str:
    """The result as a few lines."""
    splits = [f"{split} {collection.splits.count(split):,}" for split in dict.fromkeys(collection.splits) if split]
    head = f"{args.folder}: {len(collection):,} pictures, {len(collection.classes):,} classes"
    lines = [f"{head}{'; ' if splits else ''}{', '.join(splits)}"]
    counts = review.counts(findings)
    for problem in (problem for check in CHECKS if check in args.checks for problem in CHECKS[check]):
        count = counts[problem]
        groups = len({x.group for x in findings if x.problem == problem and x.group})
        move = sum(x.problem == problem and x.action == "move" for x in findings)
        extra = [f"in {groups:,} groups"] if groups else []
        extra += [f"{move:,} start as `move`"] if move else []
        lines.append(f"  {problem:15}{count:7,}{' pictures ' if extra else ''}{', '.join(extra)}")
    return "\n".join([*lines, *(f"  {note}" for note in notes)])


class Progress:
    """Called as progress(done, total): a line on stderr every few seconds, and none for what is done sooner."""

    def __init__(self, what: str, unit: str, every: float = 5.0):
        self.what, self.unit, self.every = what, unit, every
        self.start = self.last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            left = (now - self.start) / done * (total - done)
            print(f"{self.what}: {done:,} of {total:,} {self.unit}, {left:,.0f} s left", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
