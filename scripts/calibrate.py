"""Fits a run's temperature on validation, chooses thresholds or takes costs, and stores them beside the checkpoint.

    python scripts/calibrate.py runs/mine                               # the temperature alone
    python scripts/calibrate.py runs/mine --recall crack=0.99           # miss at most one crack of a hundred
    python scripts/calibrate.py runs/mine --precision spam=0.9 --step 400
    python scripts/calibrate.py runs/mine --costs costs.csv             # rows are true classes, columns answers

It reads the logits of WORKDIR/eval and needs neither the pictures nor the model. The result, calibration/<step>.json,
is used by scripts/predict.py and shown by the report; docs/measuring.md explains the figures. The costs are numbers,
one line a true class in the order of the classes, or with a first line and a first column of class names in any order.
Exit status: 0; 2 where something is missing, or a wanted value can't be reached.
"""

import argparse
import csv
import math
import sys
from pathlib import Path

from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError
from jaxcls.measure import calibration, curves, decision, outcome, stored

FEW = 50  # pictures of a class, below which a warning says how little they tell


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    for line in run(args):
        print(line)
    return 0


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path, help="of a run")
    parser.add_argument("--step", type=int, help="of a checkpoint; default: the one the run's result is of")
    wishes = {"type": wish, "action": "append", "default": [], "metavar": "CLASS=SHARE"}
    text = "choose a threshold for this class that gives at least this {} on validation; repeatable"
    parser.add_argument("--recall", **wishes, help=text.format("recall"))
    parser.add_argument("--precision", **wishes, help=text.format("precision"))
    parser.add_argument("--costs", type=Path, metavar="FILE.csv", help="what each mistake costs")
    parser.add_argument("--split", default=decision.SPLIT, help="%(default)s, and nothing else: see docs/measuring.md")
    return parser.parse_args(argv)


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


def run(args):
    """Calibrates, stores, and yields the lines that tell of it."""
    if args.split != decision.SPLIT:
        raise UserError(
            f"--split={args.split}: a temperature or threshold is fitted on {decision.SPLIT} only. What was fitted on "
            "a split looks better there than it is, and test has to stay what tells how good it is"
        )
    step = find_step(args.workdir, args.step)
    found = stored.read_logits(args.workdir, decision.SPLIT, step)
    classes = stored.read_classes(args.workdir, step, found.logits.shape[1])
    wanted = [(kind, *entry) for kind in decision.KINDS for entry in getattr(args, kind)]
    costs = read_costs(args.costs, classes) if args.costs else None
    made = decision.fit(found.logits, found.label, classes, wanted=wanted, costs=costs)
    made["fingerprint"] = stored.fingerprint(found)
    earlier = decision.read(args.workdir, step)
    made = decision.save(args.workdir, step, made)
    splits = {decision.SPLIT: found}
    if step in stored.steps(args.workdir, "test"):
        splits["test"] = stored.read_logits(args.workdir, "test", step)
    yield f"{args.workdir}, step {step}; fitted on {len(found.label):,} pictures of {decision.SPLIT}"
    yield from temperature_lines(made, splits)
    for entry in made["thresholds"]:
        yield from threshold_lines(entry, made, splits)
    if made["thresholds"] or made["costs"]:
        yield from answer_lines(made, splits)
    if "test" not in splits:
        yield f"There are no test logits of step {step}: the figures on {decision.SPLIT} are those of the fit itself."
    yield ""
    if earlier and (earlier["thresholds"] or earlier["costs"]):
        yield "It takes the place of an earlier calibration, with all its thresholds and costs."
    yield f"stored in {decision.path(args.workdir, step)}; scripts/predict.py and the report use it"


def find_step(workdir, step):
    """The step to calibrate. Raises UserError, with what can be done, where it has no validation logits."""
    if not workdir.is_dir():
        raise UserError(f"{workdir} is no folder: give the workdir of a run")
    there = stored.steps(workdir, decision.SPLIT)
    if not there:
        raise UserError(
            f"{workdir}/eval holds no logits of {decision.SPLIT}: evaluate with python -m jaxcls.main --mode=eval "
            f"--workdir={workdir}, or, if the run held nothing out, train with config.data.validation=0.1"
        )
    wanted = step if step is not None else stored.final_step(workdir)
    if wanted is None:
        return there[-1]
    if wanted not in there:
        raise UserError(
            f"there are no logits of {decision.SPLIT} for step {wanted}, but for {', '.join(map(str, there))}; give "
            f"one as --step, or evaluate again with python -m jaxcls.main --mode=eval --workdir={workdir}"
        )
    return wanted


def read_costs(path, classes):
    """The matrix of a CSV file, in the order of the classes."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--costs: {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    named = bool(rows) and set(rows[0][1:]) == set(classes) and len(rows[0]) == len(classes) + 1
    if named:
        columns, lines = rows[0][1:], {row[0]: row[1:] for row in rows[1:]}
        if set(lines) != set(classes) or len(rows) != len(classes) + 1:
            raise UserError(f"--costs: the first column of {path} has to name every class once")
        if any(len(line) != len(classes) for line in lines.values()):
            raise UserError(f"--costs: {path} needs {len(classes)} numbers in every line")
        rows = [[lines[true][columns.index(answer)] for answer in classes] for true in classes]
    try:
        return decision.check_costs([[float(cell) for cell in row] for row in rows], classes)
    except ValueError as error:
        raise UserError(f"--costs: {path} has to hold a number for each pair of classes, {len(classes)} lines of "
                        f"{len(classes)} ({error})") from error  # fmt: skip


def temperature_lines(made, splits):
    """Before and after, on every split."""
    t = made["temperature"]
    how = "nothing to mend" if abs(t - 1) < 0.02 else "the model was too " + ("sure" if t > 1 else "unsure")
    found = splits[decision.SPLIT]
    if t == 1.0 and (found.logits.argmax(axis=1) == found.label).all():
        how = "left as it is: without a mistake there is nothing to fit it by"
    elif any(math.isclose(t, end, rel_tol=1e-3) for end in (calibration.HOTTEST, calibration.COLDEST)):
        how = "the end of the range: the logits say next to nothing about the classes"
    yield f"temperature {t:.4g}: {how}"
    yield ""
    yield f"{'':<12}{'NLL before':>12}{'after':>10}{'ECE before':>14}{'after':>10}"
    for split, (logits, label, _) in splits.items():
        nll = [calibration.nll(logits, label, value) for value in (1.0, t)]
        ece = [curves.reliability(calibration.probabilities(logits, value), label)["error"] for value in (1.0, t)]
        ece = [f"{100 * value:.2f} %" if value is not None else "-" for value in ece]
        yield f"{split:<12}{nll[0]:>12.4f}{nll[1]:>10.4f}{ece[0]:>14}{ece[1]:>10}"


def threshold_lines(entry, made, splits):
    """What one threshold does on every split, beside the most probable class."""
    name = entry["class"]
    yield ""
    yield (
        f"{name!r} is answered where its probability is at least {entry['threshold']:.4g}, for a {entry['kind']} of at "
        f"least {100 * entry['wanted']:g} %"
    )
    yield f"{'':<12}{'':<14}{'pictures':>9}{'found':>7}  {'recall (95 % interval)':<28}{'flagged':>8}  precision"
    for split, (logits, label, _) in splits.items():
        probability = decision.probabilities(made, logits)
        for how, rule, start in (("threshold", made, split), ("most probable", None, "")):
            row = outcome.of_answers([entry], decision.decide(rule, probability), label)[0]
            yield f"{start:<12}{how:<14}{measured(row)}"
            if rule and split == decision.SPLIT:
                fitted = row
    yield from warnings(entry, fitted)


def measured(row):
    recall, precision = (share(row[key], row[f"{key}_interval"]) for key in ("recall", "precision"))
    return f"{row['positives']:>9,}{row['found']:>7,}  {recall:<28}{row['flagged']:>8,}  {precision}"


def share(value, interval):
    if value is None:
        return "-"
    return f"{100 * value:.2f} % ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def warnings(entry, row):
    """What must be known before a threshold is relied on."""
    low = 100 * row["recall_interval"][0]
    if row["positives"] < FEW:
        yield (
            f"Only {row['positives']} pictures of {entry['class']!r} to choose it by: on other pictures the recall may "
            f"be as low as {low:.1f} %. Collect more before you rely on it."
        )
    if row[entry["kind"]] is not None and row[entry["kind"]] < entry["wanted"] - 1e-12:
        yield (
            f"With the other thresholds at work its {entry['kind']} is below {100 * entry['wanted']:g} %: where "
            "several classes are above their thresholds, the most probable is answered."
        )


def answer_lines(made, splits):
    """Accuracy, and cost where there are any, of the answers and of the most probable class."""
    yield ""
    heads = f"{'':<12}{'accuracy':>10}{'most probable':>16}"
    yield heads + (f"{'mean cost':>12}{'most probable':>16}" if made["costs"] else "")
    for split, (logits, label, _) in splits.items():
        probability = decision.probabilities(made, logits)
        answers = decision.decide(made, probability), decision.decide(None, probability)
        line = f"{split:<12}" + "".join(
            f"{100 * (answer == label).mean():>{width}.2f} %" for answer, width in zip(answers, (8, 14), strict=True)
        )
        if made["costs"]:
            costs = [outcome.expected_cost(made["costs"], answer, label) for answer in answers]
            line += f"{costs[0]:>12.4g}{costs[1]:>16.4g}"
        yield line


if __name__ == "__main__":
    sys.exit(main())
