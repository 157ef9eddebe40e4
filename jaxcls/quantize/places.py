"""Where a traced network is rounded to 8 bits.

Rounded are the inputs of what integer operators compute (convolutions and products with weights, sums and products of
two activations, means, concatenations) and of activation functions that no convolution takes in (all but ReLU and
Clip). So between two operators with weights there is a rounded tensor, as ONNX Runtime wants it: it computes a
convolution with what it takes in (BatchNorm, ReLU) in integers only where the result is rounded, too. Pools of maxima,
reshapes and slices pass rounded numbers on. Logits stay in float, as in `export.quantise`. Norms are left alone: in
training BatchNorm computes with the statistics of the batch, which are activations, too, but those are constants of the
exported net.
"""

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import jax
from flax import linen as nn

from jaxcls.models.layers.named import parsed
from jaxcls.prune.program import CALLS, Program, Step

NORM, DROP = "jaxcls.norm", "jaxcls.drop"
# In the scope of what these compute.
MARKS: dict[str, tuple[type, ...]] = {
    NORM: (nn.BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.InstanceNorm),
    DROP: (nn.Dropout,),
}
PAIRS = ("add", "sub", "mul", "div")  # rounded where both sides are activations
ALL = ("concatenate", "reduce_sum", "reduce_window_sum", "logistic", "tanh", "exp", "erf", "erfc")
# Calls of JAX and of ours that are one operation: the input is rounded, nothing within.
FUNCTIONS = (
    "silu", "hard_silu", "hard_sigmoid", "gelu", "elu", "celu", "selu", "leaky_relu", "mish", "softplus", "softmax",
    "log_softmax",
)  # fmt: skip
TAKEN_IN = ("relu6",)  # calls that a convolution takes in, kept as calls
PASSED_ON = ("repeat_pixels",)  # of ours: moves numbers, and computes none


@dataclasses.dataclass
class Places:
    """What of a program is rounded.

    Fields:
      names: value -> name of its range, as "LeNet5/conv1/input": it is rounded as soon as it is there.
      kernels: first output of a step -> the axes of its kernel (the right side) that are summed over.
      in_convolutions, in_all: multiply-adds.
    """

    names: dict[int, str] = dataclasses.field(default_factory=dict)
    kernels: dict[int, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    in_convolutions: int = 0
    in_all: int = 0


@contextlib.contextmanager
def marked() -> Iterator[None]:
    """Within it, what norms and dropout compute is known by its scope, for `find`."""

    def note(function, args, kwargs, context):
        mark = next((mark for mark, kinds in MARKS.items() if isinstance(context.module, kinds)), "")
        with jax.named_scope(mark) if mark else contextlib.nullcontext():
            return function(*args, **kwargs)

    with nn.intercept_methods(note):
        yield


def unmarked(scope: str) -> str:
    """A scope without what `marked` puts in."""
    return "/".join(part for part in scope.split("/") if part not in MARKS)


def is_one(step: Step) -> bool:
    """Whether it is a call that stands for one operation."""
    title = call_name(step)
    return title in (*FUNCTIONS, *TAKEN_IN) or bool(parsed(title))


def call_name(step: Step) -> str:
    """Of a call that bears one, else ""."""
    return step.settings.get("name", "") if step.primitive in ("jit", "pjit") else ""


def find(program: Program) -> Places:
    """Of a program that was recorded within `marked`; the same in training and inference mode.

    What its first output, the logits, does not need (auxiliary classifiers) stays in float.
    """
    places, taken, before = Places(), set[str](), dict[int, int]()
    active = {program.pictures}  # values that depend on the pictures
    learned = {value for name, value in program.variables.items() if name.startswith("params/")}  # and only on those
    for step in _needed(program):
        inputs = [value for value in dict.fromkeys(step.inputs) if value in active]
        if not inputs:
            learned.update(step.outputs if learned.intersection(step.inputs) else ())
            continue
        active.update(step.outputs)
        marks = step.scope.split("/")
        if DROP in marks:  # it rounds what dropout takes from: the numbers of inference
            before |= dict.fromkeys(step.outputs, before.get(inputs[0], inputs[0]))
        if NORM in marks or DROP in marks:
            continue
        for value in _chosen(program, places, step, inputs, learned):
            value = before.get(value, value)
            if value not in places.names and program.shapes[value]:
                places.names[value] = _new_name(step, taken)
    return places


def _new_name(step, taken):
    """The module that a step stands in, its input."""
    base = "/".join(part for part in step.scope.split("/") if part and part[0] != "@")  # @: of models/summary.py
    names = (f"{base}/input{number}".lstrip("/") for number in itertools.chain([""], itertools.count(2)))
    name = next(name for name in names if name not in taken)
    taken.add(name)
    return name


def _needed(program):
    """The operations that the first output needs, in order."""
    wanted, kept = {program.outputs[0]}, []
    for step in reversed(list(_steps(program.tree))):
        if wanted.intersection(step.outputs):
            wanted.update(step.inputs)
            kept.append(step)
    return kept[::-1]


def _steps(tree: Iterable[Step]) -> Iterator[Step]:
    """The operations in order, calls that are one operation as one."""
    for step in tree:
        if step.primitive in CALLS and not is_one(step):
            yield from _steps(step.inner)
        else:
            yield step


def _chosen(program, places, step, inputs, learned) -> list[int]:
    """The activations that a step reads rounded; notes its kernel, and what it costs."""
    if step.primitive in ("conv_general_dilated", "dot_general"):
        x, kernel = step.inputs
        summed = _summed(step, len(program.shapes[kernel]))
        size = math.prod(n for n in step.shapes[0][1:] if isinstance(n, int))
        cost = size * math.prod(program.shapes[kernel][axis] for axis in summed)
        places.in_all += cost
        places.in_convolutions += cost * (step.primitive != "dot_general")
        if inputs != [x] or kernel not in learned:  # attention, and pooling by a matrix
            return []
        places.kernels[step.outputs[0]] = summed
        return inputs
    if step.primitive in PAIRS:
        return inputs if sum(value in inputs for value in step.inputs) > 1 else []
    title, ours = call_name(step), parsed(call_name(step))
    one = step.primitive in ALL or title in FUNCTIONS or (ours is not None and ours[0] not in PASSED_ON)
    return inputs if one else []


def _summed(step: Step, rank: int) -> tuple[int, ...]:
    """The axes of the right side that are no output channels."""
    numbers: Any = step.settings["dimension_numbers"]
    if step.primitive == "conv_general_dilated":
        return tuple(sorted(numbers.rhs_spec[1:]))
    (_, over), (_, batch) = numbers
    return tuple(axis for axis in range(rank) if axis in over or axis in batch)
