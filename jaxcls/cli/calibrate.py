"""Calibrates a run on validation: shows what that would change, and stores it beside the checkpoint with --apply.

    jaxcls calibrate runs/mine                               # shows what a temperature changes
    jaxcls calibrate runs/mine --recall crack=0.99 --apply   # miss at most one crack of a hundred
    jaxcls calibrate runs/mine --precision spam=0.9 --step 400
    jaxcls calibrate runs/mine --costs costs.csv --apply     # rows are true classes, columns answers
    jaxcls calibrate runs/mine --costs tree --apply          # by the run's tree of classes, or that of --tree
    jaxcls calibrate runs/mine --risk 0.02 --apply           # leave to a person what it takes for 2 % mistakes at most
    jaxcls calibrate runs/mine --coverage 0.95 --apply       # sets of classes that hold the right one in 95 %
    jaxcls calibrate runs/mine --outliers --apply            # which pictures are like none of training
    jaxcls calibrate runs/sets --f1 --apply                  # several labels a picture: the best F1 of each class
    jaxcls calibrate runs/sets --f1 --recall crack=0.99      # but for crack
    jaxcls calibrate runs/sets --precision all=0.9           # every class

It reads the logits of RUN/eval and needs neither the pictures nor the model, but for --outliers: distances need both
(--outliers=energy does not). The result, calibration/<step>.json, is used by jaxcls predict and shown by the report;
docs/measuring.md explains the figures. The costs are numbers, one line a true class in the order of the classes, or
with a first line and a first column of class names in any order. Where labels are sets each class is calibrated by
itself, and has a threshold of its own (docs/multilabel.md); --costs, --risk and --coverage are not for them.
Exit status: 0; 2 where something is missing, or a wanted value can't be reached.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxcls.cli import calibrate_sets, class_trees
from jaxcls.cli.arguments import add_run, path, positive
from jaxcls.errors import UserError

TREE = "tree"  # of --costs, in place of a file
CHOSEN = ("thresholds", "costs", "abstention", "sets", "outliers")  # what a decision may hold besides the temperature


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add_run(parser, "the one the run's result is of")
    parser.add_argument("--apply", action="store_true", help="store it; without, nothing is written")
    parser.add_argument("--f1", action="store_true", help="sets of labels: the threshold with the best F1 by class")
    text = "choose a threshold for this class that gives at least this {} on validation; repeatable"
    for kind in ("recall", "precision"):
        parser.add_argument(
            f"--{kind}", type=wish, action="append", default=[], metavar="CLASS=SHARE", help=text.format(kind)
        )
    text = "what each mistake costs; tree: the height of the lowest common ancestor in the tree of the classes"
    parser.add_argument("--costs", type=path, metavar="FILE.csv", help=text)
    class_trees.add_option(parser, "with --costs tree; stored with --apply")
    parser.add_argument("--risk", type=share, metavar="SHARE", help="abstain so that at most this share is wrong")
    parser.add_argument(
        "--coverage", type=share, metavar="SHARE", help="sets of classes that hold the right one so often"
    )
    parser.add_argument(
        "--outliers", nargs="?", const="distance", choices=("distance", "energy"),
        help="tell pictures that are like none of training: by energy and by distance of features, or by energy alone",
    )  # fmt: skip
    parser.add_argument("--accept", type=share, metavar="SHARE", help="of validation that is no outlier (default 0.95)")
    parser.add_argument("--most", type=positive, metavar="N", help="training pictures to measure distances to (5000)")
    parser.add_argument("--split", default="validation", help="%(default)s, and nothing else: see docs/measuring.md")


def wish(text: str) -> tuple[str, float]:
    """`crack=0.99` as ("crack", 0.99); percent are taken, too."""
    name, _, value = text.rpartition("=")
    try:
        number = share(value)
    except argparse.ArgumentTypeError:
        number = -1.0
    if not name or number <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not CLASS=SHARE with a share in (0, 1]; for example crack=0.99")
    return name, number


def share(text: str) -> float:
    """`0.95` or `95%`."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share in (0, 1]; for example 0.95")
    return value


def run(args: argparse.Namespace) -> None:
    """Calibrates, and tells of it."""
    for line in calibrate(args):
        print(line, flush=True)


def calibrate(args: argparse.Namespace) -> Iterator[str]:
    """Calibrates, stores where that is asked for, and yields the lines that tell of it."""
    from jaxcls.measure import decision, decision_text, outliers, stored
    from jaxcls.measure.multilabel import text

    check(args)
    workdir = Path(args.run)
    step = find_step(workdir, args.step)
    splits = {decision.SPLIT: stored.read_answers(workdir, decision.SPLIT, step)}
    sets = splits[decision.SPLIT].sets
    decided = (calibrate_sets.fit if sets else fit)(args, workdir, step, splits[decision.SPLIT])
    earlier = decision.read(workdir, step)
    if step in stored.steps(workdir, "test"):
        splits["test"] = stored.read_answers(workdir, "test", step)
    bank = None
    if args.outliers == "distance":
        from jaxcls.cli import outlier_bank

        bank, decided["outliers"]["distance"] = outlier_bank.make(
            workdir, step, decided["outliers"]["accepted"], args.most or outliers.MOST, splits
        )
    yield f"{workdir}, step {step}; fitted on {len(splits[decision.SPLIT].label):,} pictures of {decision.SPLIT}"
    yield from (text if sets else decision_text).lines(decided, splits)
    if "test" not in splits:
        yield f"There are no test logits of step {step}: what it is worth elsewhere can't be seen."
    yield ""
    replaces = ", ".join(key for key in CHOSEN if holds(earlier or {}, key))
    if not args.apply:
        lost = f", in place of the earlier one with its {replaces}" if replaces else ""
        yield f"nothing was written: the same command with --apply stores it{lost}"
        return
    if bank is not None:
        outliers.save(workdir, step, bank)
    class_trees.keep(args.tree, workdir, decided["classes"])
    decision.save(workdir, step, decided)
    if replaces:
        yield f"It takes the place of an earlier calibration, with its {replaces}."
    yield f"stored in {decision.path(workdir, step)}; jaxcls predict uses it, and the report once it is written anew"


def holds(decided: dict[str, Any], key: str) -> bool:
    """Whether a decision has something of this kind that was asked for: thresholds of 0.5 are what sets have anyway."""
    if key == "thresholds":
        return any(entry["kind"] != "half" for entry in decided.get(key) or [])
    return bool(decided.get(key))


def check(args: argparse.Namespace) -> None:
    """Raises UserError for options that do not go together."""
    from jaxcls.measure import decision

    if args.split != decision.SPLIT:
        raise UserError(
            f"--split={args.split}: a temperature or threshold is fitted on {decision.SPLIT} only. What was fitted on "
            "a split looks better there than it is, and test has to stay what tells how good it is"
        )
    if args.accept and not args.outliers:
        raise UserError("--accept is the share of pictures that are no outliers; give --outliers with it")
    if args.tree and str(args.costs) != TREE:
        raise UserError("--tree says what mistakes cost; give --costs tree with it")
    if args.most and args.outliers != "distance":
        raise UserError("--most is the number of pictures that distances are measured to; give --outliers with it")


def fit(args: argparse.Namespace, workdir: Path, step: int, predictions: Any) -> dict[str, Any]:
    """The decision that the options ask for, of stored predictions of validation, with their fingerprint."""
    from jaxcls.measure import decision, outliers, stored

    if args.f1:
        raise UserError("--f1 is for labels that are sets; here a picture has one: give --recall or --precision")
    classes = stored.read_classes(workdir, step, predictions.logits.shape[1])
    decided = decision.fit(
        predictions.logits,
        predictions.label,
        classes,
        wanted=[(kind, *entry) for kind in decision.KINDS for entry in getattr(args, kind)],
        costs=costs(args, workdir, classes),
        risk=args.risk,
        coverage=args.coverage,
        accepted=(args.accept or outliers.ACCEPTED) if args.outliers else None,
    )
    return {**decided, "fingerprint": stored.fingerprint(predictions)}


def costs(args: argparse.Namespace, workdir: Path, classes: list[str]) -> Any:
    """The matrix of --costs, of a file or of the tree; None without."""
    from jaxcls.measure import cost_file, hierarchy

    if not args.costs:
        return None
    if str(args.costs) != TREE:
        return cost_file.read(args.costs, classes)
    tree = class_trees.find(args.tree, workdir, classes)
    if tree is None:
        raise UserError(
            f"--costs=tree: {workdir} has no tree of its classes; give one: --tree=FILE.csv (child, parent)"
        )
    return hierarchy.costs(tree)


def find_step(workdir: Path, step: int | None) -> int:
    """The step to calibrate. Raises UserError, with what can be done, where it has no validation logits."""
    from jaxcls.measure import decision, stored

    if not workdir.is_dir():
        raise UserError(f"{workdir} is no folder: give the workdir of a run")
    there = stored.steps(workdir, decision.SPLIT)
    if not there:
        raise UserError(
            f"{workdir}/eval holds no logits of {decision.SPLIT}: evaluate with `jaxcls eval {workdir}`, or, if the "
            "run held nothing out, train with config.data.validation=0.1"
        )
    wanted = step if step is not None else stored.final_step(workdir)
    if wanted is None:
        return there[-1]
    if wanted not in there:
        raise UserError(
            f"there are no logits of {decision.SPLIT} for step {wanted}, but for {', '.join(map(str, there))}; give "
            f"one as --step, or evaluate again with `jaxcls eval {workdir}`"
        )
    return wanted
