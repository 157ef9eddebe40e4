"""The program of a network as one list of steps: calls within calls are written out."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcls.models.layers import convolve
from jaxcls.pytree import flatten_names

# Primitives that only call another program with the same arguments, and the setting that holds it.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
}
PICTURES = 2  # in the traced batch: one would look like an axis that is broadcast


@dataclasses.dataclass(frozen=True)
class Step:
    """One operation: a primitive of JAX with its settings; values are numbers into `Program.shapes`."""

    primitive: str
    settings: dict[str, Any]
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()  # of the outputs


@dataclasses.dataclass
class Program:
    """Steps in order, over numbered values.

    Fields:
      shapes: of every value.
      steps: what is computed.
      constants: value -> array, of those that are written in the program.
      variables: name ("params/conv1/kernel") -> value, in the tree's order.
      pictures: the value of the batch, float32 `[PICTURES, height, width, channels]`.
      outputs: the logits first, then the features on the way, in the tree's order.
    """

    shapes: list[tuple[int, ...]] = dataclasses.field(default_factory=list)
    steps: list[Step] = dataclasses.field(default_factory=list)
    constants: dict[int, Any] = dataclasses.field(default_factory=dict)
    variables: dict[str, int] = dataclasses.field(default_factory=dict)
    pictures: int = -1
    outputs: list[int] = dataclasses.field(default_factory=list)

    def value(self, shape: tuple[int, ...]) -> int:
        """A new value of that shape."""
        self.shapes.append(tuple(shape))
        return len(self.shapes) - 1

    def constant(self, array: Any) -> int:
        """A new value that is known."""
        number = self.value(np.shape(array))
        self.constants[number] = array
        return number


def trace(model: Any, picture_shape: tuple[int, int, int]) -> Program:
    """The program of `model.apply(variables, pictures, train=False)`, of abstract variables: nothing is computed.

    Convolutions are XLA's own (`layers.convolve.plain`), so that one is one step.
    """
    pictures = jax.ShapeDtypeStruct((PICTURES, *picture_shape), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    variables = jax.eval_shape(lambda key, x: model.init(key, x, train=False), key, pictures)
    with convolve.plain():
        closed = jax.make_jaxpr(lambda v, x: model.apply(v, x, train=False))(variables, pictures)
    program = Program()
    program.variables = {name: program.value(leaf.shape) for name, leaf in flatten_names(variables).items()}
    program.pictures = program.value(pictures.shape)
    program.outputs = _write(program, closed.jaxpr, closed.consts, [*program.variables.values(), program.pictures])
    return program


def _write(program, jaxpr, constants, arguments):
    """Writes the steps of a jaxpr; the values that it returns."""
    known = dict(zip(jaxpr.constvars, map(program.constant, constants), strict=True))
    known |= zip(jaxpr.invars, arguments, strict=True)

    def read(atom):
        return program.constant(atom.val) if hasattr(atom, "val") else known[atom]

    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        inner = equation.params.get(CALLS.get(equation.primitive.name, ""))
        if inner is not None:
            outputs = _write(program, getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs)
        else:
            outputs = [program.value(variable.aval.shape) for variable in equation.outvars]
            shapes = tuple(program.shapes[output] for output in outputs)
            step = Step(equation.primitive.name, equation.params, tuple(inputs), tuple(outputs), shapes)
            program.steps.append(step)
        known |= zip(equation.outvars, outputs, strict=True)
    return [read(atom) for atom in jaxpr.outvars]
