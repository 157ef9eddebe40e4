"""How good a network's features are: a linear classifier or nearest neighbours on them, the network frozen.

    jaxcls probe runs/finetune                            # of a run, on its own pictures
    jaxcls probe runs/simclr --data pictures --method knn # on others
    jaxcls probe squeezenet1_1.safetensors --model squeezenet1_1 --data pictures

    jaxcls probe runs/simclr --protocol lightly           # linear, by SGD as a paper does it
    jaxcls probe runs/simclr --labels 1% --draws 3        # of 1 % of the labels, mean and deviation of three draws
    jaxcls probe runs/simclr --knn lightly                # --k 200 --temperature 0.1

The features are `pre_logits`, what the last layer sees, of pictures without augmentation; they are computed once a
split and kept in the workdir. `linear` is logistic regression on standardised features, C chosen on validation, or
with --protocol simclr, moco or lightly SGD as there, but without the random crops and flips (probe.json has the command
that trains with them); `knn` weighs the votes of the 20 most similar training pictures by exp(cosine / 0.07). --labels
draws as many pictures of each class; the lists are stored in the workdir, and read where they are there. --rows FILE
names them, one a line. The test split is looked at once, at the end; --protocol lightly looks at it after each epoch,
and tells the highest accuracy beside the last. The workdir gets results.json and eval/ as from a training run (of
draws: a folder each), and probe.json. --config.data.KEY=VALUE sets a key of the data's config, as
--config.data.eval_transform="resize(160), center_crop(128)".

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
    add("--method", metavar="KIND", help="linear (default) or knn")
    add("--protocol", default="", metavar="NAME", help="of linear: simclr, moco or lightly, in place of a regression")
    values = "of linear, to choose from (default 1e-6 .. 1)"
    add("--C", type=float, nargs="+", default=[], metavar="C", help=values)
    add("--class-weight", choices=("none", "balanced"), default="none", help="of linear: 1 / frequency")
    add("--smote", action="store_true", help="of linear: fill up rare classes with mixtures (SMOTE)")
    add("--k", type=count, metavar="N", help="of knn (default 20)")
    add("--temperature", type=float, metavar="T", help="of knn; 0: no weights (default 0.07)")
    add("--knn", metavar="NAME", help="--method knn with k and T of instdisc, lightly, simsiam or solo-learn")
    add("--labels", default="", metavar="SHARE", help="of the training pictures: 1%%, 10%% or a number, balanced")
    add("--draws", type=count, metavar="N", help="of --labels (default 3)")
    add("--rows", type=expanded, default="", metavar="FILE", help="a list of the training pictures that count")
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
    method, k, temperature = _method(args)
    if args.draws is not None and not args.labels:
        raise UserError("--draws has no effect without --labels; name a share, as --labels 1%.")
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
        method=method,
        C=tuple(args.C),
        balanced=args.class_weight == "balanced",
        smote=args.smote,
        k=k,
        temperature=temperature,
        protocol=args.protocol,
        labels=args.labels,
        draws=3 if args.draws is None else args.draws,
        rows=args.rows,
    )
    other = args.data or args.seed is not None or any(key.startswith("data.") for key, _ in args.settings)
    own = path if path.is_dir() and not other else None  # else the network is probed on pictures it may have learnt
    probe.run(config, network, options, args.workdir or f"runs/probe-{path.stem}-{method}", own=own)


def _method(args):
    """(method, k, temperature). Raises UserError for options that do not go together."""
    if args.knn is None:
        k, temperature = 20 if args.k is None else args.k, 0.07 if args.temperature is None else args.temperature
        return args.method or "linear", k, temperature
    from jaxcls.settings.reader import choose
    from jaxcls.training.two_views import NEIGHBOURS

    if args.k is not None or args.temperature is not None or args.method not in (None, "knn"):
        raise UserError(f"--knn {args.knn} is --method knn with a k and a temperature; leave these options out.")
    return ("knn", *NEIGHBOURS[choose("--knn", args.knn, NEIGHBOURS)])
