"""Writes the weights of a run as a state dict for PyTorch, torchvision and timm: safetensors, or a .pth file.

    python scripts/export_weights.py runs/mine mine.safetensors                  # the best step, else the newest
    python scripts/export_weights.py runs/mine mine.pth --step 500 --dtype float16
    python scripts/export_weights.py published.th renamed.safetensors --model resnet20_cifar

Names, layouts and order of axes are those of the library that the model's names are from (torchvision, else timm), so
its model takes the file with `load_state_dict`; with `strict=False` where that library keeps tables in the state that
follow from the sizes alone (Swin's relative_position_index): these are not written. Where the run keeps an average of
the weights (EMA), that is written, unless --raw. A safetensors file also holds class names, normalisation and model in
its metadata. With --model the first argument is a file of weights, or hf-hub:ORG/NAME: they are read into that model
and written under its own names.

Exit status: 0; 2 where something is missing or cannot be read or written.
"""

import argparse
import json
import os
import sys

import numpy as np

from jaxcls.checkpoints import view
from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError

DTYPES = ("float32", "float16", "bfloat16")


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    print(export(args))
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="workdir of a run, or the folder of one step; with --model a file of weights")
    parser.add_argument("out", help="file to write: .safetensors, .pth or .pt")
    parser.add_argument("--step", type=int, help="the step to write; default: the best one, else the newest")
    parser.add_argument("--raw", action="store_true", help="the weights themselves, where there is an average of them")
    parser.add_argument("--dtype", choices=DTYPES, help="of all floating-point values; default: as they are")
    parser.add_argument("--model", metavar="NAME", help="a registered model for the weights of a file")
    parser.add_argument("--classes", type=int, help="of --model; default: the published number")
    parser.add_argument("--size", type=int, help="side of the pictures of --model; default: the published one")
    parser.add_argument("--channels", type=int, help="of the pictures of --model; default: the published number")
    parser.add_argument("--field", action="append", default=[], metavar="NAME=VALUE", help="of --model; repeatable")
    return parser.parse_args(argv)


def export(args: argparse.Namespace) -> str:
    """Writes the file; returns a line that says what is in it."""
    from jaxcls.models import weight_files

    state, metadata, what = from_file(args) if args.model else from_run(args)
    if args.dtype:
        state = {name: convert(name, value, args.dtype) for name, value in state.items()}
    weight_files.write(args.out, state, {"format": "pt", **metadata})
    kinds = ", ".join(sorted({str(value.dtype) for value in state.values()}))
    size = sum(value.nbytes for value in state.values()) / 2**20
    count = sum(value.size for value in state.values())
    return f"{args.out}: {len(state)} tensors, {count:,} numbers, {size:.1f} MiB, {kinds}; {what}"


def from_run(args):
    """(state dict, metadata, what it is) of a checkpoint."""
    from jaxcls.models.pretrained import to_state_dict

    step_dir = view.best_step(args.source) if args.step is None else view.find_step(args.source, args.step)
    meta = view.read_meta(step_dir)
    variables, averaged = view.read_variables(step_dir, raw=args.raw)
    state = to_state_dict(variables)
    kind = "averaged (EMA)" if averaged else "raw"
    metadata = {
        "model": str(meta.get("model")), "step": step_dir.name, "weights": kind,
        "classes": json.dumps(meta.get("classes")), "normalize": json.dumps(meta.get("normalize")),
    }  # fmt: skip
    return state, metadata, f"{kind} weights of step {step_dir.name}"


def from_file(args):
    """(state dict, metadata, what it is) of published weights under our model's names."""
    import jax

    from jaxcls import models
    from jaxcls.models import pretrained, weight_files
    from jaxcls.models.published import PUBLISHED, Published

    known = PUBLISHED.get(args.model, Published(""))
    fields = dict(map(models.parse_field, args.field))
    model = models.create(args.model, num_classes=args.classes or known.classes, **fields)
    size, channels = args.size or known.size, args.channels or known.channels
    image = jax.ShapeDtypeStruct((1, size, size, channels), np.float32)
    shapes = jax.eval_shape(lambda key, x: model.init(key, x, train=False), jax.random.key(0), image)
    weights, report = pretrained.match(model, shapes, weight_files.read(args.source))
    if report.kept:
        name, reason = next(iter(report.kept.items()))
        raise UserError(f"{args.source} has no {name} for {args.model} ({reason}); see --classes, --field")
    return pretrained.to_state_dict(weights), {"model": args.model}, f"{args.model} from {args.source}"


def convert(name, value, dtype):
    """The value in another floating type.

    Raises:
      UserError: where it holds numbers that are too large for that.
    """
    import jax.numpy as jnp

    if not jnp.issubdtype(value.dtype, jnp.floating):
        return value
    with np.errstate(over="ignore"):
        new = value.astype(jnp.dtype(dtype))
    if not np.array_equal(np.isfinite(new.astype(np.float32)), np.isfinite(value.astype(np.float32))):
        raise UserError(f"{name} has values up to {np.abs(value).max():.4g}, too large for {dtype}; use bfloat16")
    return new


if __name__ == "__main__":
    os.environ["JAX_PLATFORMS"] = "cpu"  # must not take the memory of a GPU that is training
    sys.unraisablehook = lambda _: None  # after a failed read TensorStore's own threads report it again
    sys.exit(main())
