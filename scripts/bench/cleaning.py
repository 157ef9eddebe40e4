"""Measures how well wrong labels are found, on the human labels of CIFAR-10N (Wei et al. 2022).

    python scripts/bench/cleaning.py --noisy train-noisy-labels.npz --model squeezenet1_1 --weights FILE
    python scripts/bench/cleaning.py --noisy train-noisy-labels.npz                    # features without a network
    python scripts/bench/cleaning.py --noisy ... --pictures 20000 --cache features.npy # compute features only once

The clean labels, which say which human labels are wrong, are those of tfds/cifar10; the .npz has arrays of 50,000 human
labels, one for each way they were made (`aggregate`, `random1`, .., `worse`). The network must not have seen the clean
labels: take weights of ImageNet. For every array: precision, recall and F1 of what each method reports, and the average
precision (AP) of each order of all pictures; random order has an AP of the share of wrong labels.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls.cli.entry import entry_point
from jaxcls.data import sources
from jaxcls.data.base import subset
from jaxcls.data.cleaning import labels
from jaxcls.data.cleaning.progress import Progress
from jaxcls.data.cleaning.search import Embedding
from jaxcls.data.cleaning.survey import CHUNK, Collection, survey
from jaxcls.errors import UserError
from jaxcls.models.features import stage_means
from jaxcls.training.build import NORMALIZE

LOW = (0.02, 0.05, 0.1)  # probabilities of the given label below which a picture is reported


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    result = measure(args)
    print(json.dumps(result, indent=1) if args.json else "\n".join(lines(result)))
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--noisy", type=Path, required=True, help=".npz of human labels, in the original order")
    parser.add_argument("--data", default="tfds/cifar10", help="the set with clean labels (default %(default)s)")
    parser.add_argument("--data-dir", help="where it is kept")
    parser.add_argument("--pictures", type=int, default=20000, help="the first ones (default %(default)s)")
    parser.add_argument("--model", help="name of the network for the features, with --weights")
    parser.add_argument("--weights", help="file of its weights")
    parser.add_argument("--size", type=int, default=128, help="side of the pictures for it (default %(default)s)")
    parser.add_argument("--cache", type=Path, help="file where the features are kept (.npy)")
    parser.add_argument("--folds", type=int, default=5, help="default %(default)s")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    args = parser.parse_args(argv)
    if bool(args.model) != bool(args.weights):
        parser.error("--model and --weights belong together")
    return args


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All measurements of a command line."""
    train: Any = sources.load(args.data, data_dir=args.data_dir)["train"]
    rows = np.argsort(train.ids)[: args.pictures]  # tensorflow-datasets shuffles; ids are in the original order
    train = subset(train, rows)
    try:
        with np.load(args.noisy) as archive:
            noisy = {name: archive[name][: len(train)].astype(np.int64) for name in archive.files}
    except (OSError, ValueError) as error:
        raise UserError(f"--noisy {args.noisy}: {' '.join(str(error).split())}") from error
    if any(len(given) != len(train) for given in noisy.values()):
        raise UserError(f"--noisy {args.noisy} has not as many labels as {args.data} has pictures")
    start = time.process_time()
    values = features_of(args, train)
    taken = time.process_time() - start
    kind = f"{args.model} at {args.size} pixels" if args.model else "gradients and colours"
    return {
        "pictures": len(train),
        "features": kind,
        "dimensions": values.shape[1],
        "features_cpu_s": taken,
        "levels": {name: level(values, given, train.labels, args.folds) for name, given in noisy.items()},
    }


def features_of(args: argparse.Namespace, train: Any) -> np.ndarray:
    """The features of the pictures, float32 [n, d]: kept ones, or computed."""
    if args.cache and args.cache.exists():
        kept = np.load(args.cache)[: len(train)]
        if len(kept) < len(train):
            raise UserError(f"--cache {args.cache} has only {len(kept):,} pictures; delete it")
        return kept
    embedding = Embedding()
    if args.model:
        function = stage_means(args.model, args.weights, args.size, *NORMALIZE["imagenet"], CHUNK)
        embedding = Embedding(function, args.size, args.model)
    collection, progress = Collection({"train": train}), Progress("reading", "pictures")
    values: Any = survey(collection, features=embedding.function, side=embedding.side, progress=progress)
    if args.cache:
        np.save(args.cache, values.features)
    return values.features


def level(values: np.ndarray, given: np.ndarray, clean: np.ndarray, folds: int) -> dict[str, Any]:
    """The figures for one array of labels."""
    from sklearn.metrics import average_precision_score

    start = time.process_time()
    fold = labels.folds(given, np.arange(len(given)), folds)
    p, classes = labels.out_of_fold(values, given, fold)
    columns, wrong = np.searchsorted(classes, given), given != clean
    own = p[np.arange(len(given)), columns]
    orders = (("confidence", own), ("margin", labels.margins(p, columns)))
    scores = {}
    for method in labels.METHODS:
        suspects = labels.suspects(p, columns, method)
        scores[method] = score(suspects.rows, wrong)
    for least in LOW:
        scores[f"confidence < {least}"] = score(np.flatnonzero(own < least), wrong)
    ap = {name: float(average_precision_score(wrong, -order)) if wrong.any() else 0.0 for name, order in orders}
    return {
        "wrong": float(wrong.mean()),
        "accuracy": float(np.mean(classes[p.argmax(1)] == clean)),
        "estimate": suspects.estimate / len(given),
        "found": scores,
        "ap": {**ap, "random": float(wrong.mean())},
        "cpu_s": time.process_time() - start,
    }


def score(rows: np.ndarray, wrong: np.ndarray) -> dict[str, float]:
    """Precision, recall and F1 of some rows."""
    hits = int(wrong[rows].sum())
    precision, recall = hits / max(len(rows), 1), hits / max(int(wrong.sum()), 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    return {"reported": len(rows), "precision": precision, "recall": recall, "f1": f1}


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The figures as a table."""
    yield (
        f"{result['pictures']:,} pictures, {result['features']}, {result['dimensions']} features "
        f"({result['features_cpu_s']:.0f} s of CPU time)"
    )
    for name, x in result["levels"].items():
        yield (
            f"\n{name}: {x['wrong']:.1%} wrong, estimated {x['estimate']:.1%}; predictions right (by the clean "
            f"labels) {x['accuracy']:.1%}; {x['cpu_s']:.0f} s of CPU time"
        )
        for method, y in x["found"].items():
            yield (
                f"  {method:18} {y['reported']:7,} reported  precision {y['precision']:6.1%}  "
                f"recall {y['recall']:6.1%}  F1 {y['f1']:.3f}"
            )
        yield "  AP of the order by " + ", ".join(f"{order} {value:.3f}" for order, value in x["ap"].items())


if __name__ == "__main__":
    sys.exit(main())
