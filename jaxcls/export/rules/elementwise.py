"""Operations on each element by itself."""

import functools
from typing import Any

import numpy as np

from jaxcls.export.graph import Graph
from jaxcls.export.rules.folding import with_constant
from jaxcls.export.value import Axes, Value, is_one

BINARY = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "pow": "Pow",
    "max": "Max",
    "min": "Min",
    "and": "And",
    "or": "Or",
    "eq": "Equal",
    "gt": "Greater",
    "ge": "GreaterOrEqual",
    "lt": "Less",
    "le": "LessOrEqual",
}
UNARY = {
    "exp": "Exp",
    "log": "Log",
    "tanh": "Tanh",
    "logistic": "Sigmoid",
    "erf": "Erf",
    "sqrt": "Sqrt",
    "abs": "Abs",
    "neg": "Neg",
    "sign": "Sign",
    "floor": "Floor",
    "ceil": "Ceil",
    "sin": "Sin",
    "cos": "Cos",
    "not": "Not",
}
POSITIVE = {"Exp", "Sigmoid", "Sqrt", "Abs", "Relu"}
SAME = ("copy", "copy_p", "stop_gradient", "optimization_barrier", "reduce_precision")


def same(graph: Graph, eqn: Any, operands: list[Any]) -> list[Any]:
    """What changes nothing in inference."""
    return list(operands)


def unary(graph: Graph, eqn: Any, operands: list[Value], *, op: str) -> list[Value]:
    """One operator."""
    (x,) = operands
    return [graph.value(op, [x.name], x, positive=op in POSITIVE)]


def rsqrt(graph: Graph, eqn: Any, operands: list[Value]) -> list[Value]:
    """1 / sqrt(x)."""
    (x,) = operands
    root = graph.value("Sqrt", [x.name], x)
    return [graph.value("Reciprocal", [root.name], x, positive=True)]


def erfc(graph: Graph, eqn: Any, operands: list[Value]) -> list[Value]:
    """1 - erf(x)."""
    (x,) = operands
    inner = graph.value("Erf", [x.name], x)
    return [graph.value("Sub", [graph.constant(np.array(1, x.dtype)), inner.name], x, positive=True)]


def log1p(graph: Graph, eqn: Any, operands: list[Value]) -> list[Value]:
    """log(1 + x)."""
    (x,) = operands
    inner = graph.value("Add", [x.name, graph.constant(np.array(1, x.dtype))], x)
    return [graph.value("Log", [inner.name], x)]


def square(graph: Graph, eqn: Any, operands: list[Value]) -> list[Value]:
    """x * x."""
    (x,) = operands
    return [graph.value("Mul", [x.name, x.name], x, positive=True)]


def is_finite(graph: Graph, eqn: Any, operands: list[Value]) -> list[Value]:
    """Neither infinite nor NaN."""
    (x,) = operands
    parts = [graph.node(op, [x.name])[0] for op in ("IsInf", "IsNaN")]
    (either,) = graph.node("Or", parts)
    return [graph.value("Not", [either], x, dtype=np.dtype(bool))]


def unequal(graph: Graph, eqn: Any, operands: list[Any]) -> list[Value]:
    """Not equal."""
    (equal,) = binary(graph, eqn, operands, op="Equal")
    return [graph.value("Not", [equal.name], equal)]


def integer_pow(graph: Graph, eqn: Any, operands: list[Value]) -> list[Value]:
    """x to a fixed power."""
    (x,) = operands
    power = graph.constant(np.array(eqn.params["y"], x.dtype))
    return [graph.value("Pow", [x.name, power], x)]


def convert(graph: Graph, eqn: Any, operands: list[Value]) -> list[Value]:
    """Another type; float16 and bfloat16 of a computation are written as float32."""
    (x,) = operands
    dtype = eqn.params["new_dtype"]
    if x.dtype == dtype:
        return [x]
    from onnx.helper import np_dtype_to_tensor_dtype

    positive = x.positive or x.dtype.kind in "ub"
    attributes = {"to": np_dtype_to_tensor_dtype(np.dtype(dtype))}
    return [graph.value("Cast", [x.name], x, dtype=np.dtype(dtype), positive=positive, attributes=attributes)]


def shifted(graph: Graph, eqn: Any, operands: list[Any]) -> list[Value]:
    """A whole number that is not negative, shifted to the right by a fixed number of bits."""
    from onnx import TensorProto

    x, bits = operands
    if not isinstance(x, Value) or isinstance(bits, Value) or not x.positive or x.dtype != np.int32:
        raise NotImplementedError("a shift of what may be negative")
    wide = graph.value("Cast", [x.name], x, attributes={"to": TensorProto.UINT32})
    amount = graph.constant(np.asarray(bits, np.uint32))
    wide = graph.value("BitShift", [wide.name, amount], x, attributes={"direction": "RIGHT"})
    return [graph.value("Cast", [wide.name], x, positive=True, attributes={"to": TensorProto.INT32})]


def rounded(graph: Graph, eqn: Any, operands: list[Value]) -> list[Value]:
    """To the nearest whole number, half to the even one."""
    if int(eqn.params["rounding_method"]) != 1:
        raise NotImplementedError("rounding half away from zero")
    return [graph.value("Round", [operands[0].name], operands[0], positive=operands[0].positive)]


def clamp(graph: Graph, eqn: Any, operands: list[Any]) -> list[Value]:
    """Between two constants."""
    low, x, high = operands
    names = [graph.constant(np.asarray(bound, x.dtype).reshape(())) for bound in (low, high)]
    return [graph.value("Clip", [x.name, *names], x, positive=bool(np.all(low >= 0)))]


def select(graph: Graph, eqn: Any, operands: list[Any]) -> list[Value]:
    """`select_n` of two: the second where the condition holds."""
    which, no, yes = operands
    axes, dims = together([x for x in operands if isinstance(x, Value)], operands)
    names = [laid(graph, x, axes, dims) for x in (which, yes, no)]
    return [written(graph, "Where", names, axes, dims, eqn)]


def binary(graph: Graph, eqn: Any, operands: list[Any], *, op: str) -> list[Value]:
    """One operator; a constant goes into the operation before it where it can."""
    values = [x for x in operands if isinstance(x, Value)]
    if len(values) == 1 and values[0].dtype == np.float32:
        constant = next(x for x in operands if not isinstance(x, Value))
        if (folded := with_constant(graph, eqn, values[0], constant, operands[0] is constant)) is not None:
            return [folded]
    axes, dims = together(values, operands)
    names = [laid(graph, x, axes, dims) for x in operands]
    signs = [x.positive if isinstance(x, Value) else bool((x >= 0).all()) for x in operands]
    sign = op in ("Add", "Mul", "Max") and all(signs)
    return [written(graph, op, names, axes, dims, eqn, positive=sign)]


def together(values: list[Value], operands: list[Any]) -> tuple[Axes, tuple[Any, ...]]:
    """(axes of a tensor, dims of the array) that operands have when they are broadcast together.

    The tensor lies as the largest of the values does (`lying`).
    """
    rank = max(x.rank for x in values)
    shapes = [x.dims if isinstance(x, Value) else (1,) * (rank - x.ndim) + x.shape for x in operands]
    dims = tuple(next((n for n in sizes if not is_one(n)), 1) for sizes in zip(*shapes, strict=True))
    axes = lying(values)
    missing = [axis for axis, size in enumerate(dims) if not is_one(size) and axis not in axes]
    if missing:
        here = [axis for axis in axes if axis is not None]
        axes = tuple(range(rank)) if here == sorted(here) else (*here, *missing)
    return axes, dims


def lying(values: list[Value]) -> Axes:
    """The axes of the tensor of the largest value. Of several that lie otherwise, one with the channels last leads:
    what is behind a transformer's first convolution would lie as that does."""
    most = max(len(x.large()) for x in values)
    largest = [x for x in values if len(x.large()) == most]
    return next((x.axes for x in largest if x.large() == sorted(x.large())), largest[0].axes)


def laid(graph: Graph, x: Any, axes: Axes, dims: tuple[Any, ...]) -> str:
    """The name of an operand, so that it is broadcast to a tensor with these axes."""
    if isinstance(x, Value):
        return graph.lay(x, axes, short=True)
    array = x.reshape((1,) * (len(dims) - x.ndim) + x.shape)
    array = array.transpose(
        [axis for axis in axes if axis is not None] + [a for a in range(len(dims)) if a not in axes]
    )
    array = array.reshape([1 if axis is None else x.shape[axis - (len(dims) - x.ndim)] if axis >= len(dims) - x.ndim
                           else 1 for axis in axes])  # fmt: skip
    while array.ndim and array.shape[0] == 1:
        array = array[0]
    return graph.constant(array)


def written(
    graph: Graph, op: str, names: list[str], axes: Axes, dims: tuple[Any, ...], eqn: Any, positive: bool = False
) -> Value:
    """A node whose tensor has these axes."""
    (name,) = graph.node(op, names)
    return Value(name, dims, axes, np.dtype(eqn.outvars[0].aval.dtype), positive)


RULES: dict[str, Any] = {
    **{name: functools.partial(unary, op=op) for name, op in UNARY.items()},
    **{name: functools.partial(binary, op=op) for name, op in BINARY.items()},
    **dict.fromkeys(SAME, same),
    "rsqrt": rsqrt,
    "erfc": erfc,
    "log1p": log1p,
    "square": square,
    "integer_pow": integer_pow,
    "convert_element_type": convert,
    "clamp": clamp,
    "round": rounded,
    "is_finite": is_finite,
    "ne": unequal,
    "shift_right_arithmetic": shifted,
    "select_n": select,
}
