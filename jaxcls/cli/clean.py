"""Finds what is wrong with a set of pictures, for you to review, and moves files aside.

    jaxcls clean pictures                                 # writes a CSV and an HTML sheet with thumbnails
    jaxcls clean pictures --model squeezenet1_1 --weights squeezenet1_1.safetensors
    jaxcls clean pictures --apply findings.csv            # moves what has `move` in the column `action`
    jaxcls clean --undo pictures.removed/journal.jsonl

It looks for unreadable files; identical, re-encoded, resized and mirrored copies; copies in different splits (leaks)
or with different labels (conflicts); outliers of each class; wrong labels. The last two need features of the pictures.
With --weights they come from that network, and confident learning says which labels are probably wrong. Without, they
are gradients and colours, much weaker: only labels that look very improbable (--confidence) are reported. A network
that has been trained on these very labels knows them by heart; take another one.

Of sets that are no folder (tfds/cifar10, digits) nothing can be moved. Files go to DATA.removed (or --aside), never
over others, and are never deleted. Exit status: 0 nothing found, or moved as wished; 1 something found, or a file that
could not be put back; 2 not possible, with one line that says why.
"""

import argparse
import sys
from typing import TYPE_CHECKING

from jaxcls.cli.arguments import count, data_name, expanded, path, positive
from jaxcls.errors import UserError
from jaxcls.text import printable

if TYPE_CHECKING:
    from jaxcls.data.cleaning.search import Embedding

CHECKS = ("unreadable", "duplicates", "outliers", "labels")
METHODS = ("confident_joint", "class_rate", "noise_rate", "none")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add = parser.add_argument
    add("data", nargs="?", metavar="DATA", type=data_name, help="a folder, or what config.data.name takes")
    add("--data-dir", type=expanded, metavar="DIR", help="of tensorflow-datasets, or where a relative folder starts")
    add("--checks", nargs="+", choices=CHECKS, default=CHECKS, help="default all")
    add("--model", metavar="NAME", help="the network for the features, with --weights")
    add("--weights", type=expanded, metavar="FILE", help="its weights (.safetensors, .pth), or hf-hub:ORG/NAME")
    add("--size", type=positive, metavar="N", help="side of the pictures for it (default: the published one)")
    add("--normalize", default="imagenet", metavar="NAME", help="as config.data.normalize (default %(default)s)")
    radius = "bits of 64 in which the hashes of near duplicates may differ, 0 to 11 (default %(default)s)"
    add("--radius", type=count, default=10, metavar="N", help=radius)
    least = "the least that near duplicates have (default %(default)s)"
    add("--correlation", type=float, default=0.95, metavar="R", help=least)
    add("--folds", type=positive, default=5, metavar="N", help="of the predictions of labels (default %(default)s)")
    below = "report pictures whose label has a lower probability (default %(default)s)"
    add("--confidence", type=float, default=0.05, metavar="P", help=below)
    method = "of confident learning (default class_rate with --weights, none without: too many right labels)"
    add("--method", choices=METHODS, help=method)
    add("--out", type=path, metavar="DIR", help="for findings.csv and findings.html (default runs/clean-NAME)")
    add("--show", type=count, default=300, metavar="N", help="thumbnails of each problem (default %(default)s)")
    add("--seed", type=count, default=0, metavar="N", help="of the folds (default %(default)s)")
    add("--apply", type=path, metavar="CSV", help="move the files aside that it says")
    add("--aside", type=path, metavar="DIR", help="where to (default DATA.removed)")
    add("--undo", type=path, metavar="JOURNAL", help="put back what was moved")


def run(args: argparse.Namespace) -> int:
    """Searches, moves or puts back."""
    if not args.data and not args.undo:
        raise UserError("name a folder of pictures; see jaxcls clean --help.")
    if bool(args.model) != bool(args.weights):
        raise UserError("--model and --weights belong together.")
    if args.radius > 11 or args.folds < 2:
        raise UserError("--radius must be 0 to 11, --folds 2 or more.")
    if args.undo:
        return _undo(args)
    return _apply(args) if args.apply else _search(args)


def _search(args: argparse.Namespace) -> int:
    """1 where something is found."""
    from jaxcls.data.cleaning import search

    method = args.method or ("class_rate" if args.weights else "none")
    options = search.Options(args.checks, args.radius, args.correlation, args.folds, args.confidence, method, args.seed)
    out = search.free_folder(args.out, args.data)
    embedding = _network(args) if args.weights and options.needs_features else search.Embedding()
    return int(search.search(args.data, args.data_dir, options, out, embedding=embedding, most=args.show))


def _network(args: argparse.Namespace) -> "Embedding":
    """The features of --model."""
    from jaxcls.data.cleaning.search import Embedding
    from jaxcls.data.cleaning.survey import CHUNK
    from jaxcls.models import features
    from jaxcls.models.published import PUBLISHED, Published
    from jaxcls.training.transforms import NORMALIZE

    if args.normalize not in NORMALIZE:
        raise UserError(f"--normalize {args.normalize} must be one of {', '.join(NORMALIZE)}")
    side = args.size or PUBLISHED.get(args.model, Published("")).size
    function = features.stage_means(args.model, args.weights, side, *NORMALIZE[args.normalize], CHUNK)
    return Embedding(function, side, f"{args.model} with {args.weights}, {side} pixels")


def _apply(args: argparse.Namespace) -> int:
    """--apply: moves files aside."""
    from jaxcls.data.cleaning import moves, review
    from jaxcls.data.cleaning.progress import Progress
    from jaxcls.data.cleaning.survey import folder_of

    root = folder_of(args.data, args.data_dir)
    if root is None or not root.is_dir():
        raise UserError(f"{root or args.data} is not a folder; only files of a folder can be moved aside")
    aside = args.aside or moves.aside_of(root)
    paths = review.to_move(args.apply)
    moved = moves.apply(root, paths, aside, Progress("moving", "files"))
    print(
        f"{moved:,} of {len(paths):,} files moved to {printable(aside)}"
        + (", the others before" * (moved < len(paths)))
    )
    if paths:
        print(f"put them back with: jaxcls clean --undo {printable(aside / moves.JOURNAL)}")
    return 0


def _undo(args: argparse.Namespace) -> int:
    """--undo: puts files back."""
    from jaxcls.data.cleaning import moves
    from jaxcls.data.cleaning.progress import Progress

    restored, problems = moves.undo(args.undo, Progress("moving", "files"))
    print(f"{restored:,} files put back")
    for problem in problems:
        print(f"not put back: {printable(problem)}", file=sys.stderr)
    return 1 if problems else 0
