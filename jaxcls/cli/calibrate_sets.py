"""`jaxcls calibrate` where the labels of a picture are a set: its options, and the decision that they ask for."""

import argparse
from pathlib import Path
from typing import Any

from jaxcls.errors import UserError

ONE_LABEL = ("costs", "risk", "coverage")  # options that are for one label a picture


def check(args: argparse.Namespace) -> None:
    """Raises UserError for options that do not go with sets."""
    given = [f"--{name}" for name in ONE_LABEL if getattr(args, name)]
    if given:
        raise UserError(
            f"{given[0]} is for one label a picture, and the labels of this run are sets; choose thresholds by class "
            "with --f1, --recall or --precision"
        )


def fit(args: argparse.Namespace, workdir: Path, step: int, predictions: Any) -> dict[str, Any]:
    """The decision that the options ask for, of stored predictions of validation, with their fingerprint."""
    from jaxcls.measure import outliers, stored
    from jaxcls.measure.multilabel import decision, thresholds

    check(args)
    classes = stored.read_classes(workdir, step, predictions.logits.shape[1])
    decided = decision.fit(
        predictions.logits,
        predictions.label,
        classes,
        f1=args.f1,
        wanted=[(kind, *entry) for kind in thresholds.KINDS for entry in getattr(args, kind)],
        accepted=(args.accept or outliers.ACCEPTED) if args.outliers else None,
    )
    return {**decided, "fingerprint": stored.fingerprint(predictions)}
