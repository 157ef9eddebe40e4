"""Evaluates a checkpoint of a run on its validation and test pictures, or on others, every picture once.

    jaxcls eval runs/mine                                 # the best checkpoint, the newest where none is best
    jaxcls eval runs/mine --step=1140
    jaxcls eval runs/mine --config.eval.tta=flip          # views averaged; the run's own figures stay
    jaxcls eval runs/mine --data other/pictures           # all pictures of another labelled folder
    jaxcls eval --model resnet32_cifar --weights X.th --data tfds/cifar10 --split test
    jaxcls eval mine.onnx --data other/pictures           # a file of jaxcls export, by ONNX Runtime and without JAX
    jaxcls eval mine.int8.tflite --data other/pictures    # by LiteRT

The logits go to RUN/eval; every figure, the report and the comparison of runs is computed from there. The run's splits
are those it began with (RUN/splits.csv). Other pictures are scored under a name of their own: classes are matched by
name, and what the run has trained on among them is told, by content. Weights of a file, ONNX and
LiteRT files write nothing without --out.
"""

import argparse

from jaxcls.cli import devices, foreign, run_config
from jaxcls.cli.arguments import add_allow_changed, count, data_name, expanded
from jaxcls.errors import UserError

SETTINGS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add = parser.add_argument
    add("run", type=expanded, metavar="RUN", nargs="?", help="workdir of a run; or an ONNX or LiteRT file, with --data")
    add("--step", type=count, metavar="N", help="of the run's checkpoints; default: the best one, else the newest")
    add("--config", metavar="CONFIG", help="in place of the one that the run has stored")
    text = "score other pictures: a folder, or what config.data.name takes"
    add("--data", dest="other", type=data_name, metavar="DATA", help=text)
    add("--split", default="", help="with --data: one of the splits that it has; default: all its pictures")
    add("--name", default="", help="what this evaluation is called beside the run's own; default: that of the folder")
    add("--model", metavar="NAME", help="in place of a run, with --weights and --data")
    add("--weights", type=expanded, metavar="FILE", help="a file of weights, or hf-hub:ORG/NAME")
    text = "of --weights, or of a MODEL.onnx or .tflite: the class names, one a line, in the order of its outputs"
    add("--classes", type=expanded, metavar="FILE", help=text)
    text = "of --weights, or of a MODEL.onnx or .tflite: where figures and logits go; default: they are printed alone"
    add("--out", type=expanded, metavar="DIR", help=text)
    foreign.add_options(parser, classes=False)
    add_allow_changed(parser)
    devices.add_processes(parser)


def run(args: argparse.Namespace) -> None:
    """Evaluates."""
    from jaxcls.runtime.session import is_file

    if args.run is not None and is_file(args.run):
        of_file(args)
        return
    foreign.refuse(args, foreign.NAMES)
    if args.run is None:
        of_weights(args)
        return
    for option in ("model", "weights", "classes", "out"):
        if getattr(args, option):
            raise UserError(f"--{option} is for weights without a run; leave it out, or leave out {args.run}.")
    config, workdir = run_config.read(args.config, args.run, args.settings)
    if args.split and not args.other:
        raise UserError("--split is for --data; of a run validation and test are evaluated.")
    devices.set_up(args)
    from jaxcls.training import evaluate, evaluate_run, watch

    with watch.of_run(None):
        if args.other:
            evaluate_run.other(config, workdir, args.other, step=args.step, split=args.split, name=args.name)
        elif evaluate_run.elsewhere(config, workdir, step=args.step, name=args.name) is None:
            allowed = args.allow_changed_data
            evaluate.run(config, workdir, step=args.step, name=args.name, allow_changed=allowed)


def of_file(args: argparse.Namespace) -> None:
    """`jaxcls eval MODEL.onnx --data D`, without JAX. Raises UserError for what it lacks, or can't take."""
    if not args.other:
        raise UserError(f"{args.run} is a file, which has no pictures of its own: give some with --data.")
    for option in ("step", "config", "name", "model", "weights", "allow_changed_data", "distributed"):
        if getattr(args, option):
            raise UserError(f"--{option.replace('_', '-')} is not for a file; leave it out, or give the run.")
    if args.settings:
        raise UserError(f"--config.{args.settings[0][0]} is not for a file, which says itself what pictures it takes.")
    from jaxcls.runtime import evaluate

    evaluate.run(args.run, args.other, split=args.split, out=args.out, foreign=foreign.given(args))


def of_weights(args: argparse.Namespace) -> None:
    """`jaxcls eval --model M --weights F --data D`. Raises UserError where one of them is missing."""
    given = {"--model": args.model, "--weights": args.weights, "--data": args.other}
    if missing := [option for option, value in given.items() if not value]:
        raise UserError(f"give RUN, the workdir of a run, or --model, --weights and --data; {missing[0]} is missing.")
    for option, value in (("--step", args.step), ("--config", args.config), ("--name", args.name)):
        if value:
            raise UserError(f"{option} is for a run; leave it out.")
    devices.set_up(args)
    from jaxcls.training import evaluate_weights

    evaluate_weights.run(
        args.model, args.weights, args.other, args.settings, split=args.split, classes=args.classes, out=args.out
    )
