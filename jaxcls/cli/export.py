"""Writes the weights of a run as a state dict for PyTorch, torchvision and timm: safetensors, or a .pth file.

    jaxcls export runs/mine --out mine.safetensors                  # the best step, else the newest
    jaxcls export runs/mine --out mine.pth --step 500 --dtype float16
    jaxcls export published.th --out renamed.safetensors --model resnet20_cifar

Names, layouts and order of axes are those of the library that the model's names are from (torchvision, else timm), so
its model takes the file with `load_state_dict`, strictly; GoogLeNet and Inception as built with `aux_logits=False`
unless there are auxiliary classifiers. (MNASNet takes a .pth alone.) Where the run keeps an average of the weights
(EMA), that is written, unless --raw. A safetensors file also holds class names, model, fields and normalisation in its
metadata, which are compared with the config where it is loaded here. RUN is a workdir or the folder of one step; with
--model it is a file of weights, or hf-hub:ORG/NAME: they are read into that model and written under its own names.

Exit status: 0; 2 where something is missing or cannot be read or written.
"""

import argparse
import json
from typing import TYPE_CHECKING

from jaxcls.cli import devices
from jaxcls.cli.arguments import add_run, expanded, positive

if TYPE_CHECKING:
    import numpy as np

    from jaxcls.models.base import Classifier

DTYPES = ("float32", "float16", "bfloat16")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add_run(parser)
    text = "file to write: .safetensors, .pth or .pt"
    parser.add_argument("--out", type=expanded, required=True, metavar="FILE", help=text)
    parser.add_argument("--to", choices=("weights",), default="weights", help="what to write (default %(default)s)")
    parser.add_argument("--raw", action="store_true", help="the weights themselves, where there is an average of them")
    parser.add_argument("--dtype", choices=DTYPES, help="of all floating-point values; default: as they are")
    parser.add_argument("--model", metavar="NAME", help="a registered model for the weights of a file")
    parser.add_argument("--classes", type=positive, help="of --model; default: the published number")
    parser.add_argument("--size", type=positive, help="side of the pictures of --model; default: the published one")
    parser.add_argument("--channels", type=positive, help="of the pictures of --model; default: the published number")
    parser.add_argument("--field", action="append", default=[], metavar="NAME=VALUE", help="of --model; repeatable")


def run(args: argparse.Namespace) -> None:
    """Writes the file, and prints a line that says what is in it."""
    devices.cpu_only()
    from jaxcls.models import conversion, weight_files

    if args.model:
        sizes = {"classes": args.classes, "size": args.size, "channels": args.channels}
        model, state, metadata = conversion.read_published(args.run, args.model, fields=args.field, **sizes)
        what = f"{args.model} from {args.run}"
    else:
        model, state, metadata, what = read_run(args.run, args.step, raw=args.raw)
    state = model.for_library(state)
    if args.dtype:
        state = conversion.cast(state, args.dtype)
    weight_files.write(args.out, state, {"format": "pt", **metadata}, model.versions)
    dtypes = ", ".join(sorted({str(value.dtype) for value in state.values()}))
    size = sum(value.nbytes for value in state.values()) / 2**20
    count = sum(value.size for value in state.values())
    print(f"{args.out}: {len(state)} tensors, {count:,} numbers, {size:.1f} MiB, {dtypes}; {what}")


def read_run(
    run: str, step: int | None, *, raw: bool
) -> tuple["Classifier", dict[str, "np.ndarray"], dict[str, str], str]:
    """(model, state dict, metadata, what it is) of a checkpoint. Raises UserError where it can't be read."""
    from jaxcls.models import conversion
    from jaxcls.models.state_dict import to_state_dict
    from jaxcls.tasks import networks

    network = networks.from_run(run, step, raw=raw)
    mean, std = network.normalize
    kind = "averaged (EMA)" if network.averaged else "raw"
    metadata = {
        "model": network.name,
        "step": str(network.step),
        "weights": kind,
        "classes": json.dumps(network.classes),
        "normalize": json.dumps({"mean": mean, "std": std}),
        "eval_transform": json.dumps(network.preprocessing.transforms),
        "fields": conversion.fields_of(network.name, network.model),
    }
    return network.model, to_state_dict(network.variables), metadata, f"{kind} weights of step {network.step}"
