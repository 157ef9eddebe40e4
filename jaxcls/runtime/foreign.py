"""Files that jaxcls has not written: what their input and output say, and what has to be told."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxcls import augment, call_strings
from jaxcls.augment.host import HOST, ONE_SIZE
from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.data import class_names
from jaxcls.errors import UserError
from jaxcls.runtime import session
from jaxcls.runtime.session import Session

DTYPES = {"uint8": np.uint8, "float": np.float32}
WHAT = "--eval-transform"
FIT = "it must take one picture, uint8 or float32, [batch, height, width, 1 or 3] or [batch, 1 or 3, height, width]"


@dataclasses.dataclass(frozen=True)
class Given:
    """What a user tells of a file.

    Attributes:
      classes: a file with the class names, one a line; None for class_0, class_1, ..
      mean, std: that the model takes from pictures in [0, 1] and divides by, one value or one a channel.
      transforms: like config.data.eval_transform; () to squeeze pictures to the model's size.
    """

    classes: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    transforms: tuple[str, ...] = ()

    def options(self) -> list[str]:
        """Those that were given, as the command line calls them."""
        given = {"--classes": self.classes, "--mean": self.mean, "--std": self.std, WHAT: self.transforms}
        return [name for name, value in given.items() if value]


@dataclasses.dataclass(frozen=True)
class Foreign:
    """How to ask a file from elsewhere.

    Attributes:
      preprocessing: of pictures, on the host; `picture`: (height, width, channels) of what it makes.
      feed: prepared pictures -> what the file takes.
      output: "logits" or "probabilities".
      classes: names; `named`: whether they are known, and not class_0, class_1, ..
      notes: lines about what was taken for granted.
    """

    preprocessing: Preprocessing
    picture: tuple[int, int, int]
    feed: Callable[[np.ndarray], np.ndarray]
    output: str
    classes: tuple[str, ...]
    named: bool
    notes: tuple[str, ...]


def understand(opened: Session, given: Given, batch: int) -> Foreign:
    """How to ask a file that jaxcls has not written. It is asked once, for `batch` black pictures.

    Raises:
      UserError: where its input or output doesn't fit, or what was given doesn't.
    """
    picture, first, dtype = _input(opened)
    preprocessing, notes = _preprocessing(opened, given, picture, dtype)
    feed = functools.partial(_fed, first=first, statistics=_statistics(preprocessing) if dtype is np.float32 else None)
    answer = session.run(opened, feed(np.zeros((batch, *picture), np.uint8)))
    count = _width(opened, answer, batch)
    names = class_names.read(given.classes) if given.classes else [f"class_{i}" for i in range(count)]
    if len(names) != count:
        raise UserError(f"--classes={given.classes} has {len(names):,} names; {opened.path} has {count:,} outputs.")
    summed = bool((answer >= 0).all() and np.allclose(answer.sum(axis=1), 1, atol=1e-3))
    if summed:
        notes.append("its outputs sum to one: they are taken for probabilities")
    output = "probabilities" if summed else "logits"
    return Foreign(preprocessing, picture, feed, output, tuple(names), bool(given.classes), tuple(notes))


def _input(opened):
    """((height, width, channels), whether channels come first, dtype) of the input."""
    if len(opened.inputs) != 1:
        names = ", ".join(tensor.name for tensor in opened.inputs[:5]) or "none"
        raise UserError(f"{opened.path} has {len(opened.inputs)} inputs ({names}): {FIT}")
    tensor = opened.inputs[0]
    shape = tensor.shape or ()
    shown = f"{opened.path}: its input {tensor.name!r} is {tensor.dtype} {_shown(tensor.shape)}"
    if tensor.dtype not in DTYPES or len(shape) != 4:
        raise UserError(f"{shown}: {FIT}")
    _, *axes = shape
    first = axes[0] in (1, 3)
    if not first and axes[2] not in (1, 3):
        raise UserError(f"{shown}, without 1 or 3 channels: {FIT}")
    height, width = axes[1:] if first else axes[:2]
    if not (isinstance(height, int) and isinstance(width, int) and min(height, width) > 0):
        raise UserError(f"{shown}, of no fixed height and width: export it with those that its pictures should have")
    return (height, width, axes[0] if first else axes[2]), first, DTYPES[tensor.dtype]


def _preprocessing(opened, given, picture, dtype):
    """(Preprocessing, notes) of what was given."""
    height, width, channels = picture
    notes = []
    if dtype is np.uint8:
        if given.mean or given.std:
            option = "--mean" if given.mean else "--std"
            raise UserError(f"{option}: {opened.path} takes pictures in uint8 and normalises them itself; leave it out")
        mean, std = (0.0,), (1.0,)
    else:
        if not (given.mean and given.std):
            raise UserError(
                f"{opened.path} takes pictures in float32: say how they are normalised, with --mean and --std (0 and 1 "
                "for values in [0, 1]; 0.485,0.456,0.406 and 0.229,0.224,0.225 for most nets of ImageNet)"
            )
        mean, std = given.mean, given.std
        for option, values in (("--mean", mean), ("--std", std)):
            if len(values) not in (1, channels) or (option == "--std" and min(values) <= 0):
                kind = "positive numbers" if option == "--std" else "numbers"
                raise UserError(f"{option}: it takes one or {channels} {kind} for pictures of {channels} channels")
    specs = given.transforms
    if not specs:
        specs = (f"resize({height}, {width})",)
        notes.append(f"pictures are squeezed to {width}x{height} pixels; {WHAT} says otherwise")
    found = Preprocessing(tuple(specs), mean, std, channels)
    _check(found, picture)
    return found, notes


def _check(preprocessing, picture):
    """Raises UserError where the transforms don't give pictures of that shape."""
    like = "'resize(256)' or 'center_crop(224)'"
    for spec in preprocessing.transforms:
        call = call_strings.parse(spec, HOST, what=WHAT, kind="transform of evaluation", like=like)
        if call.name == ONE_SIZE[0]:
            raise UserError(f"{WHAT}: {call.name!r} is random and can't be used in evaluation.")
    calls, _ = augment.split_list(preprocessing.transforms, encoded=True, what=WHAT)
    transform = augment.host_transform(calls, channels=preprocessing.channels, what=WHAT)
    pictures = (np.zeros((*size, picture[2]), np.uint8) for size in ((64, 96), (96, 64)))
    sizes = {transform(image, WHAT, None).shape for image in pictures}
    if sizes != {picture}:
        made = " or ".join("x".join(map(str, size[1::-1])) for size in sorted(sizes))
        raise UserError(f"{WHAT}: it makes pictures of {made} pixels; the model takes {picture[1]}x{picture[0]}")


def _statistics(preprocessing):
    return tuple(np.asarray(value, np.float32) for value in (preprocessing.mean, preprocessing.std))


def _fed(images: np.ndarray, *, first: bool, statistics: tuple[Any, Any] | None) -> np.ndarray:
    if statistics is not None:
        images = (images.astype(np.float32) / 255 - statistics[0]) / statistics[1]
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)) if first else images


def _width(opened, answer, batch):
    """How many classes an answer is of."""
    if len(opened.outputs) != 1:
        names = ", ".join(tensor.name for tensor in opened.outputs[:5])
        raise UserError(
            f"{opened.path} has {len(opened.outputs)} outputs ({names}): it must have one, [batch, classes]"
        )
    good = isinstance(answer, np.ndarray) and answer.ndim == 2 and answer.dtype.kind == "f"
    if not good or len(answer) != batch or answer.shape[1] < 2:
        of = f"{answer.dtype} {_shown(answer.shape)}" if isinstance(answer, np.ndarray) else "no array"
        raise UserError(
            f"{opened.path}: its output for {batch} picture(s) is {of}; it must be floats, [batch, classes]"
        )
    return answer.shape[1]


def _shown(shape):
    return "of unknown shape" if shape is None else f"[{', '.join('?' if n is None else str(n) for n in shape)}]"
