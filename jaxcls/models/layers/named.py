"""Pieces that other tools have as one operator: called by a name that a converter finds in the traced program."""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array

from jaxcls.models.layers.convolve import is_plain

PREFIX = "jaxcls."


def named(name: str, function: Callable[..., Array], *arrays: Array, **settings: Any) -> Array:
    """function(*arrays, **settings); within `plain()` as a call of its own, `jit`, that carries name and settings.

    `parsed` reads them back. Elsewhere nothing but the function is traced.
    """
    if not is_plain():
        return function(*arrays, **settings)

    def call(*arrays):
        return function(*arrays, **settings)

    call.__name__ = ",".join([PREFIX + name, *(f"{key}={value}" for key, value in sorted(settings.items()))])
    return jax.jit(call)(*arrays)


def parsed(title: str) -> tuple[str, dict[str, float]] | None:
    """(name, settings) of a call that `named` made, by its name; None for others'."""
    if not title.startswith(PREFIX):
        return None
    name, *settings = title.removeprefix(PREFIX).split(",")
    pairs = (setting.split("=") for setting in settings)
    return name, {key: float(value) for key, value in pairs}


def program_of(function: Callable[[Array], Array], array: Any) -> str:
    """What JAX traces for a function of its own (`jax.nn.relu6`) of an array like this, as text: what bears the name of
    one may be another."""
    program = jax.make_jaxpr(lambda x: function(x))(jax.ShapeDtypeStruct(array.shape, array.dtype))
    inner = program.eqns[0].params
    return str(inner["jaxpr"]) if "jaxpr" in inner else ""
