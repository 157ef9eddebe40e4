"""How good a network's features are: a linear classifier or nearest neighbours on them, the network frozen.

    python scripts/probe.py runs/finetune                                       # of a run, on its own pictures
    python scripts/probe.py runs/simclr --data folder/pictures --method knn     # on others
    python scripts/probe.py squeezenet1_1.safetensors --model squeezenet1_1 --data folder/pictures

The features are `pre_logits`, what the last layer sees, of pictures without augmentation; they are computed once a
split and kept in the workdir. `linear` is logistic regression on standardised features, C chosen on validation; `knn`
weighs the votes of the 20 most similar training pictures by exp(cosine / 0.07). The test split is looked at once, at
the end. The workdir gets results.json and eval/ as from a training run, and probe.json. --config.data.KEY=VALUE sets
a key of the data's config, as --config.data.eval_transform="resize(160), center_crop(128)".

Exit status: 0; 2 where an option, the weights, the data or the workdir cannot be used.
"""

import argparse
import sys
from pathlib import Path

from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args, settings = parse(sys.argv[1:] if argv is None else argv)
    probe(args, settings)
    return 0


def parse(argv):
    """(arguments, (path, text) pairs of `--config.path=text`)."""
    from jaxcls.main import take_settings

    settings, rest = take_settings(argv)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("network", metavar="RUN_OR_WEIGHTS", help="a run's workdir, or a file of weights")
    parser.add_argument("--model", metavar="NAME", help="of a file of weights")
    parser.add_argument("--data", metavar="NAME", help="folder/<path>, tfds/<name>, digits; default: the run's")
    parser.add_argument("--size", type=whole, default=0, help="of weights: side of the pictures (default: published)")
    parser.add_argument("--method", default="linear", help="linear (default) or knn")
    parser.add_argument("--C", type=float, nargs="+", default=[], help="of linear, to choose from (default 1e-6 .. 1)")
    parser.add_argument("--class_weight", choices=("none", "balanced"), default="none", help="of linear: 1 / frequency")
    parser.add_argument("--smote", action="store_true", help="of linear: fill up rare classes with mixtures (SMOTE)")
    parser.add_argument("--k", type=whole, default=20, help="of knn (default %(default)s)")
    parser.add_argument("--temperature", type=float, default=0.07, help="of knn; 0: no weights (default %(default)s)")
    parser.add_argument("--seed", type=whole, help="of splits and SMOTE; default: the run's, 0")
    parser.add_argument("--workdir", metavar="DIR", help="for the results; default runs/probe-NAME-METHOD")
    return parser.parse_args(rest), settings


def probe(args, settings):
    """The probe of the flags.

    Raises:
      UserError: for flags that do not go together, and from `probe.run`.
    """
    from jaxcls.classical import probe
    from jaxcls.settings import config_file

    path = Path(args.network).expanduser()
    if path.is_dir():
        if args.model or args.size:
            raise UserError(f"{path} is a folder: of a run the model and its pictures are known; leave --model and "
                            "--size out.")  # fmt: skip
        config, classes = probe.config_of_run(path)
        network = probe.of_run(path, classes)
    else:
        if not args.model:
            raise UserError(f"{args.network} is no run's workdir; of a file of weights name the model with --model.")
        if not args.data:
            raise UserError("of a file of weights name the pictures: --data folder/PATH.")
        config, network = probe.config_of_weights(args.model, args.data, args.size), probe.of_weights(args.network)
    if idle := [key for key, _ in settings if not key.startswith(("data.", "model.fields"))]:
        raise UserError(f"--config.{idle[0]} has no effect here; only config.data counts.")
    given = {"data.name": args.data, "seed": args.seed}
    config_file.override(config, [(key, str(value)) for key, value in given.items() if value is not None])
    config_file.override(config, settings)
    if not all(C > 0 for C in args.C):
        raise UserError("--C must be above 0.")
    options = probe.Options(
        method=args.method, C=tuple(args.C), balanced=args.class_weight == "balanced", smote=args.smote, k=args.k,
        temperature=args.temperature,
    )  # fmt: skip
    probe.run(config, network, options, args.workdir or f"runs/probe-{path.stem}-{args.method}")


def whole(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
