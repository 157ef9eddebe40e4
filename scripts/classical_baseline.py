"""The classical baseline: hand-made features and a linear classifier, with the splits and results of a training run.

    python scripts/classical_baseline.py --data digits --features hog --workdir runs/hog
    python scripts/classical_baseline.py --data folder/pictures --features sift --pyramid --workdir runs/sift
    python scripts/classical_baseline.py --config=configs/lenet5_mnist.py --features pixels --classifier logistic

Features: `hog` (histograms of oriented gradients), `sift` (bags of SIFT words, whose vocabulary is learned from
training pictures) or raw `pixels`, standardised. C is chosen on the validation split, and the test split is looked at
once, at the end. Of a config its data.name, data.dir, data.validation, data.split_ratios, data.group_by, data.channels
and seed count: the same pictures are trained and tested on as with `python -m jaxcls.main`. The workdir gets
results.json and eval/ as from a training run, and classical.json with the chosen C and times. Needs:
pip install -e '.[classical]'

Exit status: 0; 2 where an option, the data or the workdir cannot be used.
"""

import argparse
import os
import sys

from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args, settings = parse(argv)
    config = read_config(args, settings)
    from jaxcls.classical import run
    from jaxcls.classical.options import Options

    options = Options(
        features=args.features, classifier=args.classifier, size=args.size, colour=args.colour, cell=args.cell,
        keypoints=args.keypoints, words=args.words, pyramid=args.pyramid, weighting=args.weighting,
        C=tuple(args.C), balanced=args.class_weight == "balanced", smote=args.smote, train_limit=args.train_limit,
    )  # fmt: skip
    run.run(config, options, args.workdir or f"runs/{args.features}-{args.classifier}")
    return 0


def parse(argv):
    """(arguments, (path, text) pairs of `--config.path=text`)."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", metavar="NAME", help="digits, tfds/<name>, folder/<path>; default: the config's")
    parser.add_argument("--data_dir", metavar="DIR", help="of tensorflow-datasets, or where relative folders start")
    parser.add_argument("--seed", type=whole, help="of splits, vocabulary and fit; default: the config's, 0")
    parser.add_argument("--config", metavar="FILE", help="take data and seed from it; --config.KEY=VALUE sets a key")
    parser.add_argument("--workdir", metavar="DIR", help="for the results; default runs/<features>-<classifier>")
    parser.add_argument("--features", default="hog", metavar="KIND", help="hog, sift or pixels (default %(default)s)")
    parser.add_argument("--classifier", default="svm", metavar="KIND", help="svm or logistic (default %(default)s)")
    parser.add_argument(
        "--size", type=positive, default=0,
        help="side to which pictures are stretched; default: as they are where all have one size (at least 32 for "
        "hog, 64 for sift), else 128, of pixels 32",
    )  # fmt: skip
    parser.add_argument(
        "--colour", default="",
        help="of hog: grey (default), strongest (gradient of the channels) or channels (each); of pixels: channels "
        "(default) or grey",
    )  # fmt: skip
    parser.add_argument(
        "--cell", type=positive, default=0, help="of hog: side in pixels; default: an eighth of the picture"
    )
    parser.add_argument("--keypoints", default="dense", metavar="KIND", help="of sift: dense (default) or detected")
    parser.add_argument("--words", type=positive, default=512, help="of sift: in the vocabulary (default %(default)s)")
    parser.add_argument("--pyramid", action="store_true", help="of sift: bags of the four quarters, too")
    parser.add_argument(
        "--weighting", default="hellinger", metavar="KIND", help="of sift: hellinger (default) or tfidf"
    )
    parser.add_argument("--C", type=float, nargs="+", default=[], help="to choose from (default 1e-6, 1e-5 .. 1)")
    parser.add_argument("--class_weight", choices=("none", "balanced"), default="none", help="balanced: 1 / frequency")
    parser.add_argument("--smote", action="store_true", help="fill up rare classes with mixtures of neighbours (SMOTE)")
    parser.add_argument("--train_limit", type=positive, default=0, help="train on so many pictures, drawn by class")
    args, rest = parser.parse_known_args(argv)
    return args, [setting(argument, parser) for argument in rest]


def setting(argument, parser):
    """`--config.path=text` as (path, text)."""
    if not argument.startswith("--config."):
        parser.error(f"unrecognized argument: {argument}")
    path, equals, text = argument.removeprefix("--config.").partition("=")
    if not equals:
        raise UserError(f"--config.{path} has no value; write --config.{path}=...")
    return path, text


def read_config(args, settings):
    """The config of the flags.

    Raises:
      UserError: where no data is named, or there is a mistake in the config or a setting.
    """
    from jaxcls.classical.run import USED
    from jaxcls.defaults import default_config
    from jaxcls.settings import config_file, reader

    if not (args.config or args.data or any(path == "data.name" for path, _ in settings)):
        raise UserError(
            "give --data=folder/PATH, --data=digits, --data=tfds/NAME, or --config=configs/...; see --help."
        )
    config = config_file.load(args.config) if args.config else default_config()
    config_file.override(config, settings)
    if idle := [path for path, _ in settings if path not in USED]:
        raise UserError(f"--config.{idle[0]} has no effect here; of a config only {', '.join(USED)} count.")
    given = {"data.name": args.data, "data.dir": args.data_dir, "seed": args.seed}
    config_file.override(config, [(path, str(value)) for path, value in given.items() if value is not None])
    return reader.resolve(config)


def whole(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return int(text)


if __name__ == "__main__":
    os.environ["JAX_PLATFORMS"] = "cpu"  # nothing here needs an accelerator, which may be training
    sys.exit(main())
