"""What depends on no picture is computed while the graph is written: in NumPy, since each operation of JAX compiles."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "pow": np.power,
    "neg": np.negative,
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "sqrt": np.sqrt,
    "square": np.square,
    "abs": np.abs,
    "sign": np.sign,
    "floor": np.floor,
    "ceil": np.ceil,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "not": np.invert,
    "select_n": lambda which, *cases: np.select([which == i for i in range(len(cases))], cases),
    "copy": np.asarray,
    "copy_p": np.asarray,
    "stop_gradient": np.asarray,
    "optimization_barrier": np.asarray,
    "reduce_precision": np.asarray,
}
VARIES = "a constant whose elements depend on the number of pictures"
_REDUCE: dict[str, Callable[..., Any]] = {"reduce_sum": np.sum, "reduce_max": np.max, "reduce_min": np.min}


def compute(eqn: Any, operands: list[np.ndarray]) -> list[np.ndarray]:
    """What comes out of an operation on constants. An axis that is broadcast stays 1 until that is no longer possible.

    Rare operations are JAX's own. Raises NotImplementedError for what differs from picture to picture.
    """
    op, p = eqn.primitive.name, eqn.params
    aval = eqn.outvars[0].aval
    if op in _ELEMENTWISE:
        return [np.asarray(_ELEMENTWISE[op](*_ranked(operands))).astype(aval.dtype)]
    if op == "convert_element_type":
        return [operands[0].astype(p["new_dtype"])]
    if op == "broadcast_in_dim":
        shape = [1] * len(p["shape"])
        for old, new in enumerate(p["broadcast_dimensions"]):
            shape[new] = operands[0].shape[old]
        return [operands[0].reshape(shape)]
    if op == "squeeze":
        return [np.squeeze(operands[0], tuple(p["dimensions"]))]
    if op == "transpose":
        return [operands[0].transpose(p["permutation"])]
    arrays = [full(x, var.aval.shape) for x, var in zip(operands, eqn.invars, strict=True)]
    if op == "reshape":
        sizes = [int(n) if _known(n) else 1 for n in aval.shape]  # the same for every picture
        if math.prod(sizes) != arrays[0].size:
            raise NotImplementedError(VARIES)
        return [arrays[0].reshape(sizes)]
    if op in _REDUCE:
        return [_REDUCE[op](arrays[0], axis=tuple(p["axes"])).astype(aval.dtype)]
    if op == "concatenate":
        return [np.concatenate(arrays, p["dimension"])]
    if op == "iota":
        shape, size = [1] * len(p["shape"]), p["shape"][p["dimension"]]
        if not _known(size):
            raise NotImplementedError(VARIES)
        shape[p["dimension"]] = -1
        return [np.arange(size, dtype=p["dtype"]).reshape(shape)]
    out = eqn.primitive.bind(*arrays, **p)
    return [np.asarray(x) for x in (out if eqn.primitive.multiple_results else [out])]


def full(array: np.ndarray, shape: Any) -> np.ndarray:
    """The array with the sizes that it is broadcast to; along an axis that depends on the batch it stays 1."""
    wanted = [int(n) if _known(n) else have for n, have in zip(shape, array.shape, strict=True)]
    return np.broadcast_to(array, wanted)


def _known(size):
    """Whether a size is a number, not an expression of the batch."""
    return isinstance(size, (int, np.integer))


def _ranked(operands):
    rank = max(x.ndim for x in operands)
    return [x if x.ndim == rank or not x.ndim else x.reshape((1,) * (rank - x.ndim) + x.shape) for x in operands]
