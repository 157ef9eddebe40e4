"""What a network costs when units are gone, from its traced program: nothing is compiled."""

import math
from typing import NamedTuple

import numpy as np

from jaxcls.prune.groups import Groups
from jaxcls.prune.replay import Replay


class Costs(NamedTuple):
    """Parameters, and multiply-adds of convolutions and matrix products for one picture (`models.summary`)."""

    parameters: int
    multiply_adds: int


def count(groups: Groups, gone: np.ndarray) -> Costs:
    """The costs of the network of `groups` without the units of these roots."""
    program = groups.program
    replay = Replay(program, groups, gone)
    batch = program.shapes[program.pictures][0]
    products = 0
    for step in program.steps:
        if step.primitive == "dot_general":
            left = replay.shape(step.inputs[0])
            (summed, _), _ = step.settings["dimension_numbers"]
            products += math.prod(replay.shape(step.outputs[0])) * math.prod(left[axis] for axis in summed)
        elif step.primitive == "conv_general_dilated":
            kernel, features = replay.shape(step.inputs[1]), step.settings["dimension_numbers"].rhs_spec[0]
            products += math.prod(replay.shape(step.outputs[0])) * math.prod(kernel) // kernel[features]
    parameters = sum(
        math.prod(replay.shape(value)) for name, value in program.variables.items() if name.startswith("params/")
    )
    return Costs(parameters, products // batch)
