"""The program of a network as steps over numbered values."""

import dataclasses
from collections.abc import Callable, Sequence
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
    """One operation: a primitive of JAX with its settings; values are numbers into `Program.shapes`.

    Fields:
      primitive, settings: its name, and what it is told.
      inputs, outputs: values.
      shapes: of the outputs.
      operation: the primitive itself.
      scope: where it stands in the model, as `jax.named_scope` has it.
      inner: the steps of a call, which gives values of theirs (or of its inputs).
    """

    primitive: str
    settings: dict[str, Any]
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    operation: Any = None
    scope: str = ""
    inner: tuple["Step", ...] = ()


@dataclasses.dataclass
class Program:
    """Steps in order, over numbered values.

    Fields:
      shapes: of every value.
      tree: what is computed, calls as they are made.
      steps: the same without calls: what is within them stands in their place.
      constants: value -> array, of those that are written in the program.
      inputs: the values of the arguments' leaves.
      variables: name ("params/conv1/kernel") -> value, in the tree's order.
      pictures: the value of the batch, float32 `[b, height, width, channels]`.
      outputs: the logits first, then the features on the way, in the tree's order.
    """

    shapes: list[tuple[int, ...]] = dataclasses.field(default_factory=list)
    tree: list[Step] = dataclasses.field(default_factory=list)
    steps: list[Step] = dataclasses.field(default_factory=list)
    constants: dict[int, Any] = dataclasses.field(default_factory=dict)
    inputs: list[int] = dataclasses.field(default_factory=list)
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


def record(function: Callable[..., Any], variables: Any, pictures: Any, *more: Any) -> tuple[Program, Any]:
    """The program of function(variables, pictures, *more), of arrays or abstract ones, and the shapes of its outputs.

    Convolutions are XLA's own (`layers.convolve.plain`), so that one is one step.
    """
    with convolve.plain():
        made = lambda *arguments: function(*arguments)  # noqa: E731  JAX would give the trace of another mode
        closed, outputs = jax.make_jaxpr(made, return_shape=True)(variables, pictures, *more)
    program = Program()
    program.inputs = [program.value(variable.aval.shape) for variable in closed.jaxpr.invars]
    names = list(flatten_names(variables))
    program.variables = dict(zip(names, program.inputs, strict=False))
    program.pictures = program.inputs[len(names)]
    program.outputs, tree = _write(program, closed.jaxpr, closed.consts, program.inputs)
    program.tree, program.steps = tree, list(_flat(tree))
    return program, outputs


def trace(model: Any, picture_shape: Sequence[int]) -> Program:
    """`record` of `model.apply(variables, pictures, train=False)`, of abstract variables: nothing is computed."""
    pictures = jax.ShapeDtypeStruct((PICTURES, *picture_shape), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    variables = jax.eval_shape(lambda key, x: model.init(key, x, train=False), key, pictures)
    return record(lambda v, x: model.apply(v, x, train=False), variables, pictures)[0]


def _write(program, jaxpr, constants, arguments):
    """(values that a jaxpr returns, its steps)."""
    known = dict(zip(jaxpr.constvars, map(program.constant, constants), strict=True))
    known |= zip(jaxpr.invars, arguments, strict=True)
    steps = []

    def read(atom):
        return program.constant(atom.val) if hasattr(atom, "val") else known[atom]

    for equation in jaxpr.eqns:
        name, inputs, inner = equation.primitive.name, tuple(read(atom) for atom in equation.invars), ()
        called = equation.params.get(CALLS.get(name, ""))
        if called is not None:
            jaxpr_of = getattr(called, "jaxpr", called)
            outputs, inner = _write(program, jaxpr_of, getattr(called, "consts", ()), inputs)
        else:
            outputs = [program.value(variable.aval.shape) for variable in equation.outvars]
        shapes = tuple(program.shapes[output] for output in outputs)
        scope = str(equation.source_info.name_stack)
        steps.append(
            Step(name, equation.params, inputs, tuple(outputs), shapes, equation.primitive, scope, tuple(inner))
        )
        known |= zip(equation.outvars, outputs, strict=True)
    return [read(atom) for atom in jaxpr.outvars], steps


def _flat(tree):
    for step in tree:
        if step.primitive in CALLS:
            yield from _flat(step.inner)
        else:
            yield step
