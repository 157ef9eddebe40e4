"""A network that computes as its INT8 file will, as a model like any other."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from flax.core import scope as flax_scope
from jax import Array

from jaxcls.models.layers.named import named
from jaxcls.prune.around import Around
from jaxcls.prune.program import CALLS, Program, Step, record
from jaxcls.prune.replay import convolution
from jaxcls.pytree import flatten_names
from jaxcls.quantize import fake, places
from jaxcls.quantize.places import Places
from jaxcls.types import PyTree

RANGES = "quant"  # the collection: (smallest, largest) of what is rounded, a moving average over training batches
LEVELS = {"any": 63, "vnni": 127, "arm": 127}  # of kernels; why 63: export/quantise.py
ROUNDED = "quantize"  # the call in a traced program: of x, scale, zero point


@dataclasses.dataclass(frozen=True)
class Quantised(Around):
    """A model whose kernels and activations are rounded to 8 bits on the way (`places`, `fake`).

    Every call traces the model and computes the trace with the rounding in it, so no layer needs to know of it.
    Whatever else is asked, the model answers. `variables` have a collection more, "quant": it is averaged while `train`
    and read else; a range that has seen no batch rounds nothing.

    Fields:
      module: a Linen module, or another model around one.
      target: the processors that it is for, one of LEVELS; as `--target` of `jaxcls export`.
    """

    target: str = "any"

    @property
    def levels(self) -> int:
        """Of the kernels: `fake.kernel`."""
        return LEVELS[self.target]

    def init(self, rngs: Any, images: Any, **settings: Any) -> PyTree:
        """The module's fresh variables, and empty ranges."""
        variables = dict(self.module.init(rngs, images, **settings))
        names = places.find(traced(self.module, variables, images)[0]).names.values()
        ranges = {tuple(name.split("/")): jnp.zeros(2) for name in sorted(names)}
        return {**variables, RANGES: traverse_util.unflatten_dict(ranges)}

    def apply(
        self,
        variables: PyTree,
        images: Array,
        *,
        train: bool = False,
        rngs: Mapping[str, Array] | None = None,
        mutable: Any = False,
    ) -> Any:
        """As the module's."""
        own = {name: tree for name, tree in variables.items() if name != RANGES}
        moves = mutable is not False and flax_scope.in_filter(mutable, RANGES)
        settings = {"train": train, "mutable": flax_scope.subtract_filters(mutable, RANGES) if moves else mutable}
        program, shapes = traced(self.module, own, images, rngs, **settings)
        axis_name = getattr(self.module, "axis_name", None)
        run = _Run(program, places.find(program), flatten_names(variables[RANGES]), self.levels)
        run.averages = train
        run.axis_name = axis_name if isinstance(axis_name, str) else None
        answer = jax.tree.unflatten(jax.tree.structure(shapes), run(jax.tree.leaves((own, images, rngs))))
        if not moves:
            return answer
        ranges = jax.tree.unflatten(jax.tree.structure(variables[RANGES]), list(run.ranges.values()))
        return answer[0], {**answer[1], RANGES: ranges}


def in_float(model: Any, variables: PyTree) -> tuple[Any, PyTree]:
    """(the model that is rounded, its variables without ranges); of other models what is given."""
    if not isinstance(model, Quantised):
        return model, variables
    return model.module, {name: tree for name, tree in variables.items() if name != RANGES}


def traced(module: Any, variables: PyTree, images: Any, rngs: Any = None, **settings: Any) -> tuple[Program, Any]:
    """`record` of a module's `apply`, for `places.find`; settings are train (False) and mutable."""
    settings = {"train": False, **settings}

    def call(variables, images, rngs):
        with places.marked():
            return module.apply(variables, images, rngs=rngs, **settings)

    return record(call, variables, images, rngs)


class _Run:
    """Computes a program with the rounding in it. `ranges`: name -> [2], which move while it `averages`."""

    averages = False
    axis_name: str | None = None

    def __init__(self, program: Program, found: Places, ranges: Mapping[str, Array], levels: int):
        self.program, self.places, self.levels = program, found, levels
        self.ranges = dict(ranges)

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        known: dict[int, Any] = {}
        self._keep(known, self.program.inputs, inputs)
        self._steps(self.program.tree, known)
        return [self._read(known, value) for value in self.program.outputs]

    def _read(self, known, value):
        return known[value] if value in known else self.program.constants[value]

    def _steps(self, steps: Sequence[Step], known: dict[int, Any], rounds: bool = True) -> None:
        for step in steps:
            scope = places.unmarked(step.scope)
            with jax.named_scope(scope) if scope else contextlib.nullcontext():
                if step.primitive in CALLS:
                    self._call(step, known, rounds)
                else:
                    values = [self._read(known, value) for value in step.inputs]
                    self._keep(known, step.outputs, self._computed(step, values), rounds)

    def _computed(self, step, values):
        """The results of an operation, of its kernel rounded."""
        if step.outputs and (axes := self.places.kernels.get(step.outputs[0])) is not None:
            values = [values[0], fake.kernel(values[1], axes, self.levels)]
        if step.primitive == "conv_general_dilated":
            return [convolution(step.settings, *values)]
        results = step.operation.bind(*values, **step.settings)
        return list(results) if step.operation.multiple_results else [results]

    def _keep(self, known, values, results, rounds=True):
        """Notes what values are, rounded where they are to be."""
        for value, x in zip(values, results, strict=True):
            name = self.places.names.get(value)
            known[value] = x if name is None or not rounds or value in known else self._rounded(name, x)

    def _rounded(self, name, x):
        if self.averages:
            self.ranges[name] = fake.moved(self.ranges[name], x, self.axis_name)
        scale, zero = fake.grid(self.ranges[name])
        return named(ROUNDED, fake.rounded, x, scale, zero)

    def _call(self, step, known, rounds):
        """A call stays one where its name or its derivative matters; else what is within is computed in its place."""
        relu = step.primitive == "custom_jvp_call" and [inner.primitive for inner in step.inner] == ["max"]
        if relu:  # whose derivative at 0 is 0; that of max is 1/2
            return self._keep(known, step.outputs, [jax.nn.relu(self._read(known, step.inputs[0]))], rounds)
        values = [self._read(known, value) for value in step.inputs]
        one = places.is_one(step)

        def inside(*values):
            before, inner = self.ranges, dict(zip(step.inputs, values, strict=True))
            self.ranges = dict(before)
            self._steps(step.inner, inner, rounds and not one)
            moved, self.ranges = self.ranges, before
            return [self._read(inner, value) for value in step.outputs], moved

        if one:
            function = lambda *values: inside(*values)[0]  # noqa: E731
            function.__name__ = places.call_name(step)
            self._keep(known, step.outputs, jax.jit(function)(*values), rounds)
        elif step.primitive in ("checkpoint", "remat2"):
            results, self.ranges = jax.checkpoint(inside, policy=step.settings.get("policy"))(*values)
            known |= zip(step.outputs, results, strict=True)
        else:
            self._steps(step.inner, known, rounds)
