"""Fits a run's temperature on validation, chooses thresholds or takes costs, and stores them beside the checkpoint.

    jaxcls calibrate runs/mine                               # the temperature alone
    jaxcls calibrate runs/mine --recall crack=0.99           # miss at most one crack of a hundred
    jaxcls calibrate runs/mine --precision spam=0.9 --step 400
    jaxcls calibrate runs/mine --costs costs.csv             # rows are true classes, columns answers

It reads the logits of RUN/eval and needs neither the pictures nor the model. The result, calibration/<step>.json, is
used by jaxcls predict and shown by the report; docs/measuring.md explains the figures. The costs are numbers, one line
a true class in the order of the classes, or with a first line and a first column of class names in any order.
Exit status: 0; 2 where something is missing, or a wanted value can't be reached.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from jaxcls.cli.arguments import add_run
from jaxcls.errors import UserError


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add_run(parser, "the one the run's result is of")
    text = "choose a threshold for this class that gives at least this {} on validation; repeatable"
    for kind in ("recall", "precision"):
        parser.add_argument(
            f"--{kind}", type=wish, action="append", default=[], metavar="CLASS=SHARE", help=text.format(kind)
        )
    parser.add_argument("--costs", type=Path, metavar="FILE.csv", help="what each mistake costs")
    parser.add_argument("--split", default="validation", help="%(default)s, and nothing else: see docs/measuring.md")


def wish(text: str) -> tuple[str, float]:
    """`crack=0.99` as ("crack", 0.99); percent are taken, too."""
    name, _, share = text.rpartition("=")
    try:
        value = float(share.removesuffix("%")) / (100 if share.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not name or not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not CLASS=SHARE with a share in (0, 1]; for example crack=0.99")
    return name, value


def run(args: argparse.Namespace) -> None:
    """Calibrates, and tells of it."""
    for line in calibrate(args):
        print(line)


def calibrate(args: argparse.Namespace) -> Iterator[str]:
    """Calibrates, stores, and yields the lines that tell of it."""
    from jaxcls.measure import cost_file, decision, decision_text, stored

    if args.split != decision.SPLIT:
        raise UserError(
            f"--split={args.split}: a temperature or threshold is fitted on {decision.SPLIT} only. What was fitted on "
            "a split looks better there than it is, and test has to stay what tells how good it is"
        )
    workdir = Path(args.run)
    step = find_step(workdir, args.step)
    splits = {decision.SPLIT: stored.read_logits(workdir, decision.SPLIT, step)}
    logits, label = splits[decision.SPLIT][:2]
    classes = stored.read_classes(workdir, step, logits.shape[1])
    wanted = [(kind, *entry) for kind in decision.KINDS for entry in getattr(args, kind)]
    costs = cost_file.read(args.costs, classes) if args.costs else None
    decided = decision.fit(logits, label, classes, wanted=wanted, costs=costs)
    decided["fingerprint"] = stored.fingerprint(splits[decision.SPLIT])
    earlier = decision.read(workdir, step)
    decided = decision.save(workdir, step, decided)
    if step in stored.steps(workdir, "test"):
        splits["test"] = stored.read_logits(workdir, "test", step)
    yield f"{workdir}, step {step}; fitted on {len(label):,} pictures of {decision.SPLIT}"
    yield from decision_text.lines(decided, splits)
    if "test" not in splits:
        yield f"There are no test logits of step {step}: the figures on {decision.SPLIT} are those of the fit itself."
    yield ""
    if earlier and (earlier["thresholds"] or earlier["costs"]):
        yield "It takes the place of an earlier calibration, with all its thresholds and costs."
    yield f"stored in {decision.path(workdir, step)}; jaxcls predict and the report use it"


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
