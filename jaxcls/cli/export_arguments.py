"""What `jaxcls export` takes, and which of it goes together."""

import argparse
from collections.abc import Callable

from jaxcls.cli.arguments import count, expanded, positive
from jaxcls.errors import UserError, did_you_mean

KINDS = ("weights", "onnx", "tflite", "stablehlo", "triton")
DTYPES = ("float32", "float16", "bfloat16")
# Options that belong to some of --to alone, and those that say something of what another option asks for.
OF_KIND = {
    "dtype": ("weights",),
    **dict.fromkeys(("normalize", "answers"), ("onnx", "tflite", "stablehlo", "triton")),
    **dict.fromkeys(("int8", "float16", "calibration", "max_drop", "check"), ("onnx", "tflite", "triton")),
    **dict.fromkeys(("target", "method"), ("onnx", "triton")),
    "features": ("onnx",),
    **dict.fromkeys(("device", "instances"), ("triton",)),
}
OF_MODEL = ("weights", "classes", "size", "channels", "field", "normalize")
OF_RUN = ("step", "raw")
OF_INT8 = ("target", "method", "calibration")


def one_of(*words: str, hint: str = "") -> Callable[[str], str]:
    """A type of arguments: one of some words; of another one the nearest is named, or `hint`."""

    def word(text: str) -> str:
        if text not in words:
            near = did_you_mean(text, words) or hint
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(words)}{near}")
        return text

    return word


def percent(text: str) -> float:
    """Points of accuracy, from 0 to 100."""
    value = float(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is no number of points from 0 to 100")
    return value


percent.__name__ = "number"  # argparse puts it into its message


def classes(text: str) -> int | str:
    """How many, or the file with their names."""
    return positive(text) if text.isdigit() else expanded(text)


def add(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add = parser.add_argument
    add("run", metavar="RUN", type=expanded, nargs="?", help="workdir of a run; with --model a file of weights")
    add("--step", type=count, metavar="N", help="of the run's checkpoints; default: the best one, else the newest")
    add("--raw", action="store_true", help="the weights themselves, where there is an average of them")
    text = "what to write: weights, onnx, tflite, stablehlo or triton (default %(default)s)"
    add("--to", choices=KINDS, type=one_of(*KINDS), default="weights", help=text)
    text = "file to write: .safetensors, .pth or .pt; .onnx; .tflite; .stablehlo; for triton the folder of the model"
    add("--out", type=expanded, metavar="FILE", help=f"{text} (default: by the name of the run)")
    add("--answers", choices=("logits", "probabilities"), help="what all but weights give (default logits)")
    add("--dtype", choices=DTYPES, help="of all floating-point values of weights; default: as they are")
    _add_of_model(parser)
    _add_of_onnx(parser)
    _add_of_triton(parser)


def _add_of_model(parser):
    add = parser.add_argument_group("a model in place of a run").add_argument
    add("--model", metavar="NAME", help="a registered model, with --weights; without them it has drawn ones")
    add("--weights", type=expanded, metavar="FILE", help="a file of weights, or hf-hub:ORG/NAME")
    text = "how many, or a file with their names, one a line; default: as the weights say, else the published number"
    add("--classes", type=classes, metavar="FILE", help=text)
    add("--size", type=positive, metavar="N", help="side of the pictures; default: the published one")
    add("--channels", type=positive, metavar="N", help="of the pictures; default: the published number")
    add("--field", action="append", default=[], metavar="NAME=VALUE", help="of the model; repeatable")
    text = "of pictures: imagenet, unit, symmetric, cifar10, ...; default: as the weights say, else imagenet"
    add("--normalize", metavar="NAME", help=text)


def _add_of_onnx(parser):
    add = parser.add_argument_group("ONNX and LiteRT").add_argument
    ways = ("auto", "static", "dynamic")
    way = one_of(*ways, hint="; write RUN before --int8")
    text = "an INT8 file, too: static (calibrated), dynamic (transformers), or by the kind of net"
    add("--int8", nargs="?", const="auto", choices=ways, type=way, help=text)
    add("--float16", action="store_true", help="a float16 file, too")
    text = "also what heat maps and distances of outliers need: the last map and what the last layer sees"
    add("--features", action="store_true", help=text)
    targets = ("any", "vnni", "arm")
    text = "processors that INT8 is for: any (7-bit weights), vnni, arm (default any)"
    add("--target", choices=targets, type=one_of(*targets), help=text)
    text = "how many pictures to calibrate on, a folder of them, or both (default 64 of the run's training split)"
    add("--calibration", nargs="+", metavar="N|DIR", type=expanded, help=text)
    methods = ("minmax", "percentile", "entropy")
    text = "how ranges are taken from these pictures (default minmax)"
    add("--method", choices=methods, type=one_of(*methods), help=text)
    text = "points of accuracy that a file may lose, beyond noise, before it is set aside (default 1)"
    add("--max-drop", type=percent, metavar="POINTS", help=text)
    text = "how many validation pictures are compared, 0 for all (default 2000)"
    add("--check", type=count, metavar="N", help=text)


def _add_of_triton(parser):
    add = parser.add_argument_group("Triton").add_argument
    devices = ("cpu", "gpu")
    add("--device", choices=devices, type=one_of(*devices), help="where the server computes (default cpu)")
    text = "that work at a time, on a CPU one thread each (default: the cores of this machine; one on a GPU)"
    add("--instances", type=positive, metavar="N", help=text)


def check(args: argparse.Namespace) -> None:
    """Raises UserError for options that don't go together."""
    given = {name for name, value in vars(args).items() if value is not None and value is not False and value != []}
    option = lambda name: f"--{name.replace('_', '-')}"  # noqa: E731
    for name, kinds in OF_KIND.items():
        if name in given and args.to not in kinds:
            raise UserError(f"{option(name)} is for --to {' and '.join(kinds)}, not for {args.to}; leave it out.")
    if args.model is None:
        if args.run is None:
            raise UserError("give RUN, the workdir of a run, or --model NAME with --weights FILE.")
        for name in OF_MODEL:
            if name in given:
                raise UserError(f"{option(name)} is for a model in place of a run; add --model NAME, or leave it out.")
    else:
        for name in OF_RUN:
            if name in given:
                raise UserError(f"{option(name)} is for a run; leave it out, or leave out --model.")
        if args.run is not None and args.weights is not None:
            raise UserError(f"{args.run} and --weights {args.weights} are two files of weights; give one.")
    if args.int8 is None and (idle := [name for name in OF_INT8 if name in given]):
        raise UserError(f"{option(idle[0])} is for --int8; add that, or leave it out.")
    if args.to == "triton" and args.int8 and args.float16:
        raise UserError("--int8 and --float16 are two models, and a folder of --to triton holds one; give one of them.")
