"""Options that tell what a file from elsewhere does not say about itself."""

import argparse
from typing import TYPE_CHECKING

from jaxcls.cli.arguments import expanded, numbers
from jaxcls.errors import UserError

if TYPE_CHECKING:
    from jaxcls.runtime.foreign import Given

NAMES = ("mean", "std", "eval_transform")


def add_options(parser: argparse.ArgumentParser, *, classes: bool = True) -> None:
    """Adds them; `--classes` unless the verb has it already."""
    group = parser.add_argument_group("of a MODEL.onnx or .tflite that jaxcls did not write")
    if classes:
        text = "the class names, one a line, in the order of its outputs; default: class_0, class_1, .."
        group.add_argument("--classes", type=expanded, metavar="FILE", help=text)
    text = "that the model takes from pictures in [0, 1], one number or one a channel: 0.485,0.456,0.406"
    group.add_argument("--mean", type=numbers, metavar="NUMBERS", help=text)
    group.add_argument("--std", type=numbers, metavar="NUMBERS", help="by which it divides then: 0.229,0.224,0.225")
    text = "'resize(256)', 'center_crop(224)': repeat it; default: pictures are squeezed to the model's size"
    group.add_argument("--eval-transform", action="append", metavar="CALL", help=text)


def given(args: argparse.Namespace) -> "Given":
    """What was given of them."""
    from jaxcls.runtime.foreign import Given

    return Given(args.classes, args.mean, args.std, tuple(args.eval_transform or ()))


def refuse(args: argparse.Namespace, names: tuple[str, ...] = ("classes", *NAMES)) -> None:
    """Raises UserError where one of them was given for a run."""
    for name in names:
        if getattr(args, name) is not None:
            option = name.replace("_", "-")
            raise UserError(f"--{option} is for an ONNX file that jaxcls did not write; leave it out.")
