"""How good a network's features are: a linear classifier or nearest neighbours on them, the network frozen.

    jaxcls probe runs/finetune                            # of a run, on its own pictures
    jaxcls probe runs/simclr --data pictures --method knn # on others
    jaxcls probe squeezenet1_1.safetensors --model squeezenet1_1 --data pictures

The features are `pre_logits`, what the last layer sees, of pictures without augmentation; they are computed once a
split and kept in the workdir. `linear` is logistic regression on standardised features, C chosen on validation; `knn`
weighs the votes of the 20 most similar training pictures by exp(cosine / 0.07). The test split is looked at once, at
the end. The workdir gets results.json and eval/ as from a training run, and probe.json. --config.data.KEY=VALUE sets
a key of the data's config, as --config.data.eval_transform="resize(160), center_crop(128)".

Exit status: 0; 2 where an option, the weights, the data or the workdir cannot be used.
"""

import argparse
from pathlib import Path

from jaxcls.cli import devices
from jaxcls.cli.arguments import add_data, count, expanded
from jaxcls.errors import UserError

SETTINGS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add = parser.add_argument
    add("network", type=expanded, metavar="RUN_OR_WEIGHTS", help="a run's workdir, or a file of weights")
    add("--model", metavar="NAME", help="of a file of weights")
    add_data(parser)
    add("--size", type=count, default=0, metavar="N", help="of weights: side of the pictures (default: published)")
    add("--method", default="linear", metavar="KIND", help="linear (default) or knn")
    values = "of linear, to choose from (default 1e-6 .. 1)"
    add("--C", type=float, nargs="+", default=[], metavar="C", help=values)
    add("--class-weight", choices=("none", "balanced"), default="none", help="of linear: 1 / frequency")
    add("--smote", action="store_true", help="of linear: fill up rare classes with mixtures (SMOTE)")
    add("--k", type=count, default=20, metavar="N", help="of knn (default %(default)s)")
    temperature = "of knn; 0: no weights (default %(default)s)"
    add("--temperature", type=float, default=0.07, metavar="T", help=temperature)
    add("--seed", type=count, metavar="N", help="of splits and SMOTE; default: the run's, 0")
    add("--workdir", type=expanded, metavar="DIR", help="for the results; default runs/probe-NAME-METHOD")


def run(args: argparse.Namespace) -> None:
    """Computes features, fits and measures."""
    path = Path(args.network)
    if path.is_dir():
        if args.model or args.size:
            known = "of a run the model and its pictures are known"
            raise UserError(f"{path} is a folder: {known}; leave --model and --size out.")
    elif not args.model:
        raise UserError(f"{args.network} is no run's workdir; of a file of weights name the model with --model.")
    elif not args.data:
        raise UserError("of a file of weights name the pictures: --data PATH.")
    if not all(C > 0 for C in args.C):
        raise UserError("--C must be above 0.")
    devices.set_up()
    from jaxcls.classical import probe
    from jaxcls.settings import config_file
    from jaxcls.training import published_weights

    if path.is_dir():
        config, network = probe.config_of_run(path), probe.of_run(path)
    else:
        config, network = published_weights.config_of(args.model, args.data, args.size), probe.of_weights(args.network)
    if idle := [key for key, _ in args.settings if not key.startswith(("data.", "model.fields"))]:
        raise UserError(f"--config.{idle[0]} has no effect here; only config.data counts.")
    given = {"data.name": args.data, "seed": args.seed}
    config_file.override(config, [(key, str(value)) for key, value in given.items() if value is not None])
    config_file.override(config, args.settings)
    options = probe.Options(
        method=args.method,
        C=tuple(args.C),
        balanced=args.class_weight == "balanced",
        smote=args.smote,
        k=args.k,
        temperature=args.temperature,
    )
    other = args.data or args.seed is not None or any(key.startswith("data.") for key, _ in args.settings)
    own = path if path.is_dir() and not other else None  # else the network is probed on pictures it may have learnt
    probe.run(config, network, options, args.workdir or f"runs/probe-{path.stem}-{args.method}", own=own)
