"""A traced network as an ONNX graph: walks the jaxpr, each primitive by its rule (`rules`).

docs/design.md has the four ideas that keep the graph small; docs/decisions.md why we have a writer of our own.
"""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.extend import core

from jaxcls.errors import UserError
from jaxcls.export import constant, tidy
from jaxcls.export.graph import Graph
from jaxcls.export.pieces import piece
from jaxcls.export.rules import shapes
from jaxcls.export.rules.table import RULES
from jaxcls.export.trace import trace
from jaxcls.export.value import Value
from jaxcls.types import PyTree

if TYPE_CHECKING:
    import onnx

OPSET = 21
# Primitives that only call another program, and where they have it.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}
CHANNELS_FIRST = ("conv_general_dilated", "reduce_window_max", "reduce_window_sum")  # as ONNX has them
STEPS = 64  # of a loop at most: each is written out


def to_onnx(
    function: Callable[[PyTree, jax.Array], Any],
    variables: PyTree,
    shape: tuple[int, ...],
    *,
    dtype: Any = np.uint8,
    output: str = "logits",
    beside: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
) -> "onnx.ModelProto":
    """The ONNX model of function(variables, pictures), pictures `[batch, *shape]`, any batch.

    Args:
      function: pure, for tracing; gives one array `[batch, d]`, or with `beside` a tuple of it and others, of which
        those of four axes are written as `[batch, channels, height, width]`.
      variables: its arrays, which become constants.
      shape: of a picture, (height, width, channels).
      dtype: of the pictures.
      output: name of what comes out; the input is "image".
      beside: names of the others.
      metadata: of the model.

    Raises:
      UserError: for an operation that has no rule, named with the module that it stands in.
    """
    closed = trace(function, variables, shape, dtype)
    graph = Graph()
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(variables)]
    (picture,) = closed.in_avals[len(leaves) :]
    image = Value("image", picture.shape, tuple(range(len(picture.shape))), np.dtype(dtype), dtype == np.uint8)
    if len(shape) == 3 and _convolves(closed.jaxpr):  # now, while a channel is one byte
        axes = (0, 3, 1, 2)
        image = Value(graph.lay(image, axes), image.dims, axes, image.dtype, image.positive)
    found = Walk(graph).walk(closed.jaxpr, [np.asarray(c) for c in closed.consts], [*leaves, image])
    results = [_result(graph, name, out) for name, out in zip((output, *beside), found, strict=True)]
    return tidy.model(graph, results, (shape, dtype), metadata or {}, OPSET)


def _result(graph, name, out):
    """What comes out, under this name."""
    if not isinstance(out, Value):
        raise UserError("the model's answer does not depend on the picture: there is nothing to export.")
    axes = (0, 3, 1, 2) if out.rank == 4 else tuple(range(out.rank))
    sizes = [int(n) if isinstance(n, (int, np.integer)) else None for n in out.shape(axes)]
    return tidy.Result(graph.lay(out, axes), name, sizes)


def _convolves(jaxpr):
    """Whether there is a convolution or a pool in it, at any depth."""
    inside = [program for eqn in jaxpr.eqns for program in core.jaxprs_in_params(eqn.params)]
    own = any(eqn.primitive.name in CHANNELS_FIRST for eqn in jaxpr.eqns)
    return own or any(map(_convolves, inside))


class Walk:
    """Goes through a program and what it calls."""

    def __init__(self, graph: Graph):
        self.graph = graph

    def walk(self, jaxpr: Any, constants: list[Any], operands: list[Any], place: str = "") -> list[Any]:
        """What comes out of a program for its operands."""
        known: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *operands), strict=True))
        uses = collections.Counter(
            var for var in (v for eqn in (*jaxpr.eqns, jaxpr) for v in _read_by(eqn)) if not _is_literal(var)
        )

        def read(var):
            if _is_literal(var):
                return np.asarray(var.val)
            x = known[var]
            return x if uses[var] == 1 else _settled(x)  # what others see, too, is written as it is

        for eqn in jaxpr.eqns:
            label = "/".join(filter(None, (place, str(eqn.source_info.name_stack))))
            self.graph.place = label
            results = self.write(eqn, [read(var) for var in eqn.invars], label)
            known.update(zip(eqn.outvars, results, strict=True))
        return [read(var) for var in jaxpr.outvars]

    def call(self, program: Any, operands: list[Any], label: str) -> list[Any]:
        """What comes out of a program within another."""
        constants = [np.asarray(c) for c in getattr(program, "consts", ())]
        return self.walk(getattr(program, "jaxpr", program), constants, operands, label)

    def scan(self, eqn: Any, operands: list[Any], label: str) -> list[Any]:
        """A loop of few steps, one behind the other."""
        p = eqn.params
        fixed, carried = p["num_consts"], p["num_consts"] + p["num_carry"]
        constants = [_settled(x) for x in operands[:fixed]]  # every step reads them
        carry, lists = operands[fixed:carried], operands[carried:]
        sizes = [var.aval.shape for var in eqn.invars[carried:]]
        steps = range(p["length"])
        out: list[list[Any]] = []
        for i in reversed(steps) if p["reverse"] else steps:
            items = [shapes.item(self.graph, x, size, i) for x, size in zip(lists, sizes, strict=True)]
            results = self.call(p["jaxpr"], [*constants, *carry, *items], label)
            carry = results[: p["num_carry"]]
            out.append(results[p["num_carry"] :])
        out = out[::-1] if p["reverse"] else out
        wholes = [var.aval.shape for var in eqn.outvars[p["num_carry"] :]]
        parts = zip(*out, strict=True)
        return [*carry, *(shapes.stacked(self.graph, part, dims) for part, dims in zip(parts, wholes, strict=True))]

    def write(self, eqn: Any, operands: list[Any], label: str) -> list[Any]:
        """What comes out of an operation. Raises UserError where it can't be written."""
        op = eqn.primitive.name
        if op in ("jit", "pjit") and (one := piece(self.graph, eqn, operands)) is not None:
            return [one]
        if op in CALLS:
            return self.call(eqn.params[CALLS[op]], operands, label)
        if op == "scan" and eqn.params["length"] <= STEPS:
            return self.scan(eqn, operands, label)
        try:
            if not any(isinstance(x, Value) for x in operands):
                return constant.compute(eqn, operands)
            if op not in RULES:
                raise NotImplementedError("no rule is known for it")
            return RULES[op](self.graph, eqn, operands)
        except NotImplementedError as error:
            raise UserError(
                f"ONNX: the operation {op!r} of {label or 'the network'} can't be written ({error}); "
                "export to stablehlo, or replace it in the model."
            ) from error


def _settled(x):
    """The operand; into the operation that a value comes from nothing more goes."""
    return dataclasses.replace(x, pending=None) if isinstance(x, Value) and x.pending is not None else x


def _read_by(eqn):
    return eqn.invars if hasattr(eqn, "primitive") else eqn.outvars


def _is_literal(var):
    return hasattr(var, "val")
