"""Numbers of a recipe that enter compiled functions as arguments, so that other values need no other compilation.

    decay = number(0.9, "optim.momentum")                  # reckons as the float that it is: 1 - decay, decay > 0.5
    step = Hoisted(jax.jit, lambda v, g: decay * v + (1 - decay) * g)  # `decay` and `1 - decay` are arguments of it

What is reckoned among numbers is reckoned on the host, in Python's floats of 64 bits; where a number meets an array, it
is an argument of the function that is traced, of 32 bits, as a constant would be. Elsewhere it is that constant. So a
number may be handed to whatever takes floats: where it is turned into one (`float(decay)`, `math.log`), or compared,
its value becomes part of the program, which is right and no longer shared. What is 0 stays 0: it leaves things out.
"""

import contextvars
import math
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

# Room for the numbers of a function, by their type. What finds none becomes a constant.
ROOM = {"float32": 2**15, "int32": 2**10, "uint32": 2**4}


class Number:
    """A number, or an array, of a recipe. `value`: int, float or np.ndarray; `name`: what it is."""

    __array_ufunc__ = None  # NumPy's arrays leave operations to this class

    def __init__(self, value: Any, name: str):
        self.value, self.name = value, name

    def __jax_array__(self) -> Array:
        """As an argument of the function that is traced; elsewhere, and where there is no room, as a constant."""
        bound = _BOUND.get()
        found = None if bound is None else bound(self)
        return jnp.asarray(_stored(self.value)) if found is None else found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.value, dtype, copy=copy)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __index__(self) -> int:
        return operator.index(self.value)

    def __hash__(self) -> int:
        return hash(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)

    def __repr__(self) -> str:
        return repr(self.value)

    def __neg__(self) -> "Number":
        return Number(-self.value, f"-{self.name}")


def _binary(operate, reflected):
    """The method of an operation with a number of the host, which gives a Number, or with an array."""

    def method(self, other):
        if isinstance(other, Number) or (isinstance(other, (int, float, np.number)) and not isinstance(other, bool)):
            theirs, name = (other.value, other.name) if isinstance(other, Number) else (other, repr(other))
            pairs = (theirs, self.value), (name, self.name)
            (a, b), (x, y) = pairs if reflected else (pair[::-1] for pair in pairs)
            return Number(operate(a, b), f"({x} {operate.__name__} {y})")
        here = self.__jax_array__()
        return operate(other, here) if reflected else operate(here, other)

    return method


def _comparison(operate):
    """The method of a comparison, which is a bool on the host."""

    def method(self, other):
        if isinstance(other, (Number, int, float, np.number)):
            return bool(operate(self.value, other.value if isinstance(other, Number) else other))
        return NotImplemented if other is None or isinstance(other, str) else operate(self.__jax_array__(), other)

    return method


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    setattr(Number, f"__{_name}__", _binary(getattr(operator, _name), False))
    setattr(Number, f"__r{_name}__", _binary(getattr(operator, _name), True))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Number, f"__{_name}__", _comparison(getattr(operator, _name)))

# An argument of jitted functions within the one that is traced: what arrives there is the array.
jax.tree_util.register_pytree_node(Number, lambda n: ((n.__jax_array__(),), None), lambda _, leaves: leaves[0])


def number(value: Any, name: str) -> Any:
    """`value` as a Number; as it is where it is 0, no number, or infinite.

    Args:
      value: int, float, an np.ndarray or a list of numbers.
      name: what it is, such as "optim.momentum". Numbers of one name and value are one argument.
    """
    if isinstance(value, (list, np.ndarray)):
        return Number(np.asarray(value), name)
    plain = isinstance(value, bool) or not isinstance(value, (int, float)) or not value or not math.isfinite(value)
    return value if plain else Number(value, name)


def float32(value: Any) -> Any:
    """A float, or a Number, that reckons with 32 bits from here on, as compiled programs do."""
    return Number(np.float32(value.value), value.name) if isinstance(value, Number) else np.float32(value)


def inverse(value: Any) -> Any:
    """1 / value in 32 bits. XLA multiplies by it where it finds a division by a constant, and the bits stay so."""
    return float32(1) / float32(value)


class Section:
    """A section of a config whose floats are numbers: `Section(config.optim, "optim").momentum`."""

    def __init__(self, section: Any, name: str):
        self._section, self._name = section, name

    def __getattr__(self, key: str) -> Any:
        value = getattr(self._section, key)
        return number(value, f"{self._name}.{key}") if isinstance(value, float) else value


def key(seed: int) -> Array:
    """`jax.random.key(seed)`, the seed an argument of what is traced."""
    with jax.ensure_compile_time_eval():
        data = np.asarray(jax.random.key_data(jax.random.key(int(seed))))
    return jax.random.wrap_key_data(jnp.asarray(Number(data, "seed")))


class Hoisted:
    """A function, compiled, whose numbers are arguments. Traced once, when it is first called.

    A number that only appears when it is traced again, for other shapes, is a constant there.

    Args:
      compile: function -> compiled function, which has `trace` or `lower`; `jax.jit`, say. Its first argument is a dict
        of small arrays, the same for all devices.
      fn: what is compiled: arrays -> arrays.
      place: dict of host arrays -> what the compiled function takes.
    """

    def __init__(
        self, compile: Callable[..., Any], fn: Callable[..., Any], place: Callable[[Any], Any] = jax.device_put
    ):
        self._place, self._taken = place, None
        self._slots = _Slots()

        def traced(taken, *args):
            token = _BOUND.set(lambda number: self._slots.take(number, taken))
            try:
                return fn(*args)
            finally:
                _BOUND.reset(token)

        traced.__name__ = getattr(fn, "__name__", "traced")  # not wraps: the signature is another one
        self._compiled = compile(traced)

    def __call__(self, *args: Any) -> Any:
        """What `fn` gives."""
        if self._taken is None:
            empty = self._place(self._slots.arrays())
            getattr(self._compiled, "trace", self._compiled.lower)(empty, *args)
            self._slots.full = True
            self._taken = self._place(self._slots.arrays())
        return self._compiled(self._taken, *args)

    def eval_shape(self, *args: Any) -> Any:
        """The shapes of what `fn` gives; a call with arguments of these shapes does not trace it once more."""
        return jax.eval_shape(self._compiled, self._place(self._slots.arrays()), *args)

    def lower(self, *args: Any) -> Any:
        """JAX's `Lowered`, of the function with its numbers as the first argument."""
        return self._compiled.lower(self._place(self._slots.arrays()), *args)


class _Slots:
    """Where the numbers of a function lie: each a part of one array by type."""

    def __init__(self):
        self.places, self.values, self.full = {}, {name: [] for name in ROOM}, False

    def take(self, number, taken):
        """The number out of the arrays that the function got; None where it has no place."""
        value = _stored(number.value)
        name = str(value.dtype)
        found = self.places.get(own := (number.name, name, value.shape, value.tobytes()))
        if found is None:
            if self.full or name not in ROOM or len(self.values[name]) + value.size > ROOM[name]:
                return None
            found = self.places[own] = len(self.values[name])
            self.values[name].extend(value.ravel())
        return jax.lax.slice(taken[name], (found,), (found + value.size,)).reshape(value.shape)

    def arrays(self):
        return {
            name: np.array([*values, *[0] * (ROOM[name] - len(values))], name) for name, values in self.values.items()
        }


def _stored(value):
    """As an array has it."""
    array = np.asarray(value)
    if array.dtype.kind == "f" or (array.dtype.kind == "i" and np.any(np.abs(array) > 2**31 - 1)):
        return array.astype(np.float32)
    return array.astype(np.int32) if array.dtype.kind == "i" else array


_BOUND: contextvars.ContextVar[Callable[[Number], Array | None] | None] = contextvars.ContextVar("bound", default=None)
