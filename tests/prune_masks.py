"""Random variables, and pruning by zeros: for tests of groups."""

import jax
import numpy as np

from jaxcls.models.layers import convolve
from jaxcls.pytree import flatten_names


def variables(shapes, rng):
    """name -> array, of a size that neither dies out nor grows; nothing is zero that a trained net has otherwise."""

    def one(name, shape):
        draw = rng.normal(size=shape)
        kind = name.rpartition("/")[2]
        if kind == "var":
            draw = 1 + draw**2
        elif kind == "kernel" and len(shape) > 1:
            draw /= np.sqrt(np.prod(shape[:-1]))
        elif kind == "scale":
            draw = 1 + 0.3 * draw
        elif kind == "bias":
            draw = 0.5 + 0.5 * draw  # few units are dead
        return draw.astype(np.float32)

    return {name: one(name, shape) for name, shape in shapes.items()}


def indexed(array, member, units):
    """The index of a member's places of some units."""
    return (slice(None),) * member.axis + (member.places[units].ravel(),)


def masked(flat, chosen):
    """The variables with zeros where units are made; `chosen`: [(group, units)]. A variance divides: it stays."""
    flat = {name: array.copy() for name, array in flat.items()}
    for group, units in chosen:
        for member in group.members:
            if not member.consumes and not member.name.endswith("/var"):
                flat[member.name][indexed(flat[member.name], member, units)] = 0
    return flat


def disturbed(flat, chosen, rng):
    """The variables with noise where units are used."""
    flat = {name: array.copy() for name, array in flat.items()}
    for group, units in chosen:
        for member in group.members:
            if member.consumes:
                part = flat[member.name][indexed(flat[member.name], member, units)]
                flat[member.name][indexed(flat[member.name], member, units)] += rng.normal(size=part.shape)
    return flat


def answers(model, picture_shape):
    """function(flat variables) -> logits of two random pictures, jitted; the pictures are the same each time."""
    pictures = np.random.default_rng(7).normal(size=(2, *picture_shape)).astype(np.float32)
    shapes = jax.eval_shape(lambda key: model.init(key, pictures, train=False), jax.random.key(0))
    names, structure = list(flatten_names(shapes)), jax.tree.structure(shapes)

    def forward(leaves):
        with convolve.plain():
            return model.apply(jax.tree.unflatten(structure, leaves), pictures, train=False)[0]

    jitted = jax.jit(forward)
    return lambda flat: np.asarray(jitted([flat[name] for name in names]))
