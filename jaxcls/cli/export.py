"""Writes a run, or a model with weights of a file, for other tools: weights, ONNX, LiteRT, StableHLO.

    jaxcls export runs/mine --out mine.safetensors                  # weights for PyTorch, torchvision and timm
    jaxcls export runs/mine --to onnx                               # mine.onnx, compared with the run
    jaxcls export runs/mine --to onnx --int8                        # and mine.int8.onnx, calibrated on its pictures
    jaxcls export runs/mine --to onnx --features                    # with heat maps and distances of outliers
    jaxcls export runs/mine --to tflite --int8                      # mine.tflite, mine.int8.tflite, for LiteRT
    jaxcls export runs/mine --to stablehlo                          # mine.stablehlo, mine.cpu.stablehlo
    jaxcls export runs/mine --to triton                             # triton/mine, for Triton Inference Server
    jaxcls export --model resnet18 --weights resnet18.pth --to onnx

RUN is a workdir (its best checkpoint, else the newest; --step for another) or the folder of one step; where the run
keeps an average of the weights (EMA), that is written, unless --raw. Of a k-fold run the file averages all folds, but
for weights, which are of one. docs/deploy.md tells of all but weights.

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
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcls import files
from jaxcls.cli import devices, export_arguments
from jaxcls.cli.export_arguments import check
from jaxcls.errors import UserError

if TYPE_CHECKING:
    from jaxcls.export.asked import Options, Subject


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    export_arguments.add(parser)


def run(args: argparse.Namespace) -> int | None:
    """Writes the files, and prints lines that say what is in them."""
    check(args)
    devices.cpu_only()
    kinds = {
        "weights": to_weights,
        "onnx": to_onnx,
        "tflite": to_tflite,
        "stablehlo": to_stablehlo,
        "triton": to_triton,
    }
    return kinds[args.to](args)


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


def to_tflite(args: argparse.Namespace) -> int | None:
    """`--to tflite`; the exit status. Raises UserError as `export.tflite_export` does."""
    from jaxcls.export import tflite_export

    require(*tflite_export.PACKAGES, kind=args.to, install=tflite_export.INSTALL)
    options = _options(args, _out(args, tflite_export.SUFFIX))
    return tflite_export.export(_subject(args, "float32"), options)


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


def require(*packages: str, kind: str, install: str = "") -> None:
    """Raises UserError, with the line that installs it (`install`, where packages are called otherwise than modules),
    where a package lacks."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            line = install or f"pip install {' '.join(packages)}"
            raise UserError(f"--to {kind} needs {package}, which is not installed: {line}")


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
        "features": args.features,
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
