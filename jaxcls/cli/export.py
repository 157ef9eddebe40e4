"""Writes a run, or a model with weights of a file, for other tools: weights, an ONNX file, programs of StableHLO.

    jaxcls export runs/mine --out mine.safetensors                  # weights for PyTorch, torchvision and timm
    jaxcls export runs/mine --to onnx                               # mine.onnx, compared with the run
    jaxcls export runs/mine --to onnx --int8                        # and mine.int8.onnx, calibrated on its pictures
    jaxcls export runs/mine --to stablehlo                          # mine.stablehlo, mine.cpu.stablehlo
    jaxcls export runs/mine --to triton                             # triton/mine, for Triton Inference Server
    jaxcls export --model resnet18 --weights resnet18.pth --to onnx

RUN is a workdir (its best checkpoint, else the newest; --step for another) or the folder of one step; where the run
keeps an average of the weights (EMA), that is written, unless --raw. docs/deploy.md tells of all but weights.

Weights (--to weights) are a state dict, safetensors or .pth, in the names, layouts and order of axes of the library
that the model's names are from (torchvision, else timm), so its model takes the file with `load_state_dict`, strictly;
GoogLeNet and Inception as built with `aux_logits=False` unless there are auxiliary classifiers. (MNASNet takes a .pth
alone.) A safetensors file also holds class names, model, fields and normalisation in its metadata. With --model they
are read from --weights, a file or hf-hub:ORG/NAME (the place of RUN serves, too), and written under the model's names.

Exit status: 0; 1 where a file is worse than --max-drop takes, and set aside; 2 where something is missing or cannot be
read or written.
"""

import argparse
import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcls import files
from jaxcls.cli import devices
from jaxcls.cli.arguments import count, expanded, positive
from jaxcls.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from jaxcls.export.asked import Options, Subject

KINDS = ("weights", "onnx", "stablehlo", "triton")
DTYPES = ("float32", "float16", "bfloat16")
# Options that belong to some of --to alone, and those that say something of what another option asks for.
OF_KIND = {
    "dtype": ("weights",),
    **dict.fromkeys(("normalize", "answers"), ("onnx", "stablehlo", "triton")),
    **dict.fromkeys(("int8", "float16", "target", "method", "calibration", "max_drop", "check"), ("onnx", "triton")),
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


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add = parser.add_argument
    add("run", metavar="RUN", type=expanded, nargs="?", help="workdir of a run; with --model a file of weights")
    add("--step", type=count, metavar="N", help="of the run's checkpoints; default: the best one, else the newest")
    add("--raw", action="store_true", help="the weights themselves, where there is an average of them")
    text = "what to write: weights, onnx, stablehlo or triton (default %(default)s)"
    add("--to", choices=KINDS, type=one_of(*KINDS), default="weights", help=text)
    text = "file to write: .safetensors, .pth or .pt; .onnx; .stablehlo; for triton the folder of the model"
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
    add = parser.add_argument_group("ONNX").add_argument
    ways = ("auto", "static", "dynamic")
    way = one_of(*ways, hint="; write RUN before --int8")
    text = "an INT8 file, too: static (calibrated), dynamic (transformers), or by the kind of net"
    add("--int8", nargs="?", const="auto", choices=ways, type=way, help=text)
    add("--float16", action="store_true", help="a float16 file, too")
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


def run(args: argparse.Namespace) -> int | None:
    """Writes the files, and prints lines that say what is in them."""
    check(args)
    devices.cpu_only()
    return {"weights": to_weights, "onnx": to_onnx, "stablehlo": to_stablehlo, "triton": to_triton}[args.to](args)


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


def to_weights(args: argparse.Namespace) -> None:
    """`--to weights`. Raises UserError as `export.weights` does."""
    if args.out is None:
        raise UserError("weights need --out FILE (.safetensors, .pth or .pt).")
    from jaxcls.export import weights

    file = args.weights or args.run
    if args.model is None:
        state = weights.of_run(args.run, args.step, raw=args.raw)
    elif file is None:
        raise UserError(f"--model {args.model} has no weights to write; add --weights FILE.")
    else:
        sizes = {"classes": args.classes, "size": args.size, "channels": args.channels}
        state = weights.of_file(file, args.model, fields=args.field, **sizes)
    weights.write(state, Path(args.out), dtype=args.dtype)


def to_onnx(args: argparse.Namespace) -> int | None:
    """`--to onnx`; the exit status. Raises UserError as `export.onnx_export` does."""
    require("onnx", "onnxruntime", kind=args.to)
    out = _out(args, ".onnx")
    options = _options(args, out)
    from jaxcls.export import onnx_export

    return onnx_export.export(_subject(args, "float32"), options)


def to_stablehlo(args: argparse.Namespace) -> None:
    """`--to stablehlo`. Raises UserError as `export.stablehlo` does."""
    require("flatbuffers", kind=args.to)
    out = _out(args, ".stablehlo")
    from jaxcls.export import stablehlo, subject

    stablehlo.check_place(out)
    found = _subject(args, None)
    stablehlo.write(found.network, subject.samples(found), out, output=args.answers or "logits")


def to_triton(args: argparse.Namespace) -> int | None:
    """`--to triton`; the exit status. Raises UserError as `export.triton` does."""
    require("onnx", "onnxruntime", kind=args.to)
    folder = Path("triton", _named(args)) if args.out is None else files.path(args.out)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out={folder} is a file; give the name of a folder.")
    options = _options(args, folder)
    from jaxcls.data.pipeline import default_threads
    from jaxcls.export import triton

    device: triton.Device = args.device or "cpu"
    instances = args.instances or (default_threads() if device == "cpu" else 1)
    return triton.export(_subject(args, "float32"), options, device, instances)


def require(*packages: str, kind: str) -> None:
    """Raises UserError, with the line that installs it, where a package lacks."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise UserError(f"--to {kind} needs {package}, which is not installed: pip install {' '.join(packages)}")


def _out(args, suffix):
    """The file that is written: --out, else one named after the run or model in the current folder; looked at before
    minutes are spent."""
    path = Path(f"{_named(args)}{suffix}") if args.out is None else files.path(args.out)
    if path.suffix != suffix:
        raise UserError(f"--out={path} must end in {suffix} for --to {args.to}.")
    if path.is_dir():
        raise UserError(f"--out={path} is a folder; give the name of a file.")
    if not path.parent.is_dir():
        raise UserError(f"--out={path}: there is no folder {path.parent}; make it, or choose another place.")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"--out={path} can't be written: {error.strerror}; choose another place.") from error
    return path


def _named(args):
    """What files without --out are called."""
    return args.model or _name(Path(args.run))


def _name(run):
    """What the files of a run are called: as its folder."""
    from jaxcls.checkpoints import view

    workdir = view.find_workdir(run)
    folder = (workdir or run).resolve()
    return folder.parents[1].name if workdir is None and folder.parent.name == "checkpoints" else folder.name


def _options(args: argparse.Namespace, out: Path) -> "Options":
    from jaxcls.export.asked import Options

    number, folder = _calibration(args.calibration or ())
    if args.int8 == "static" and args.model and folder is None:
        raise UserError("--int8 needs pictures to calibrate on, and a model without a run has none: --calibration DIR.")
    given = {
        "int8": args.int8,
        "float16": args.float16,
        "output": args.answers,
        "target": args.target,
        "method": args.method,
        "calibration_pictures": number,
        "calibration_folder": folder,
        "max_drop": args.max_drop,
        "check_pictures": args.check,
    }
    return Options(out=out, **{name: value for name, value in given.items() if value is not None})


def _calibration(words: Sequence[str]) -> tuple[int | None, Path | None]:
    """(how many pictures, the folder) of --calibration; None for what is not given."""
    numbers, folders = [w for w in words if w.isdigit()], [w for w in words if not w.isdigit()]
    if len(numbers) > 1 or len(folders) > 1:
        raise UserError("--calibration takes a number of pictures and a folder, one of each at most.")
    if folders and not Path(folders[0]).is_dir():
        raise UserError(f"--calibration {folders[0]}: there is no such folder.")
    if numbers and not int(numbers[0]):
        raise UserError("--calibration 0: at least one picture is needed.")
    return int(numbers[0]) if numbers else None, files.path(folders[0]) if folders else None


def _subject(args: argparse.Namespace, dtype: str | None) -> "Subject":
    """What is exported; `dtype`: of a run's computation, None for its own."""
    from jaxcls.export import subject

    if args.model is not None:
        return subject.of_model(
            args.model, args.weights or args.run or "", classes=args.classes, size=args.size, channels=args.channels,
            fields=args.field, normalize=args.normalize or "",
        )  # fmt: skip
    found = subject.of_run(args.run, args.step, raw=args.raw, dtype=dtype)
    if args.answers and found.network.key == "features":
        raise UserError(f"--answers {args.answers}: {args.run} answers with features, without classes; leave it out.")
    return found
