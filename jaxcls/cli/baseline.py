"""The classical baseline: hand-made features and a linear classifier, with the splits and results of a training run.

    jaxcls baseline --data digits --features hog --workdir runs/hog
    jaxcls baseline --data pictures --features sift --pyramid --workdir runs/sift
    jaxcls baseline --config=lenet5_mnist --features pixels --classifier logistic

Features: `hog` (histograms of oriented gradients), `sift` (bags of SIFT words, whose vocabulary is learned from
training pictures) or raw `pixels`, standardised. C is chosen on the validation split, and the test split is looked at
once, at the end. Of a config its data.name, data.dir, data.validation, data.split_ratios, data.group_by, data.channels
and seed count: the same pictures are trained and tested on as with jaxcls train. The workdir gets results.json and
eval/ as from a training run, and classical.json with the chosen C and times. hog and sift need:
pip install scikit-image opencv-python-headless

Exit status: 0; 2 where an option, the data or the workdir cannot be used.
"""

import argparse
from typing import TYPE_CHECKING

from jaxcls.cli import devices
from jaxcls.cli.arguments import add_config, count, expanded, positive
from jaxcls.errors import UserError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

SETTINGS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add = parser.add_argument
    add_config(parser)
    add("--data-dir", type=expanded, metavar="DIR", help="of tensorflow-datasets, or where a relative folder starts")
    add("--seed", type=count, metavar="N", help="of splits, vocabulary and fit; default: the config's, 0")
    add("--workdir", type=expanded, metavar="DIR", help="for the results; default runs/<features>-<classifier>")
    add("--features", default="hog", metavar="KIND", help="hog, sift or pixels (default %(default)s)")
    add("--classifier", default="svm", metavar="KIND", help="svm or logistic (default %(default)s)")
    size = "side to which pictures are stretched; default: as they are where all have one size (at least 32 for hog, "
    add("--size", type=positive, default=0, metavar="N", help=f"{size}64 for sift), else 128, of pixels 32")
    colour = "of hog: grey (default), strongest (gradient of the channels) or channels (each); of pixels: channels "
    add("--colour", default="", metavar="KIND", help=f"{colour}(default) or grey")
    cell = "of hog: side in pixels; default: an eighth of the picture"
    add("--cell", type=positive, default=0, metavar="N", help=cell)
    add("--keypoints", default="dense", metavar="KIND", help="of sift: dense (default) or detected")
    words = "of sift: in the vocabulary (default %(default)s)"
    add("--words", type=positive, default=512, metavar="N", help=words)
    add("--pyramid", action="store_true", help="of sift: bags of the four quarters, too")
    add("--weighting", default="hellinger", metavar="KIND", help="of sift: hellinger (default) or tfidf")
    add("--C", type=float, nargs="+", default=[], metavar="C", help="to choose from (default 1e-6, 1e-5 .. 1)")
    add("--class-weight", choices=("none", "balanced"), default="none", help="balanced: 1 / frequency")
    add("--smote", action="store_true", help="fill up rare classes with mixtures of neighbours (SMOTE)")
    add("--train-limit", type=positive, default=0, metavar="N", help="train on so many pictures, drawn by class")


def run(args: argparse.Namespace) -> None:
    """Describes, fits and measures."""
    if not (args.config or any(path == "data.name" for path, _ in args.settings)):
        raise UserError("give --data=PATH, --data=digits, --data=tfds/NAME, or --config=NAME; see --help.")
    config = read_config(args)
    devices.cpu_only()
    from jaxcls.classical import run
    from jaxcls.classical.options import Options

    options = Options(
        features=args.features,
        classifier=args.classifier,
        size=args.size,
        colour=args.colour,
        cell=args.cell,
        keypoints=args.keypoints,
        words=args.words,
        pyramid=args.pyramid,
        weighting=args.weighting,
        C=tuple(args.C),
        balanced=args.class_weight == "balanced",
        smote=args.smote,
        train_limit=args.train_limit,
    )
    run.run(config, options, args.workdir or f"runs/{args.features}-{args.classifier}")


def read_config(args: argparse.Namespace) -> "ConfigDict":
    """The config of the arguments. Raises UserError for a mistake in it, and for settings without effect."""
    from jaxcls.classical.run import DATA
    from jaxcls.defaults import default_config
    from jaxcls.settings import config_file, reader

    config = config_file.load(args.config) if args.config else default_config()
    config_file.override(config, args.settings)
    used = (*(f"data.{key}" for key in DATA), "seed")
    if idle := [path for path, _ in args.settings if path not in used]:
        raise UserError(f"--config.{idle[0]} has no effect here; of a config only {', '.join(used)} count.")
    given = {"data.dir": args.data_dir, "seed": args.seed}
    config_file.override(config, [(path, str(value)) for path, value in given.items() if value is not None])
    return reader.resolve(config)
