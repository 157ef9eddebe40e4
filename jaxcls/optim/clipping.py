"""Adaptive clipping of gradients, unit by unit."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from jaxcls import pytree


def clip_adaptive(ratio: float, *, eps: float = 1e-3, exclude: Sequence[str] = ()) -> optax.GradientTransformation:
    """Scales the gradient of a unit down to `ratio` times the norm of its weights (AGC).

    Brock et al., High-Performance Large-Scale Image Recognition Without Normalization, section 4. A unit is what feeds
    one output: all axes but the last of a kernel (HWIO, or in x out), all but the first of a matrix stored as out x in
    (`..._weight`), and the whole of anything else. optax's `adaptive_grad_clip` guesses from the number of axes: it
    would take the wrong ones of `..._weight` and single numbers of position embeddings.

    Args:
      ratio: the paper's lambda, about 0.01.
      eps: least norm of weights that counts, so that parameters that start at zero can move.
      exclude: regular expressions of parameters that stay as they are; the paper leaves out the classifier.

    Raises:
      UserError: from `init`, if a pattern matches no parameter.
    """

    def init(params):
        pytree.require_matches(params, exclude, "config.optim.clip_adaptive_exclude")
        return optax.EmptyState()

    def update(updates, state, params=None):
        names = jax.tree.unflatten(jax.tree.structure(updates), list(pytree.flatten_names(updates)))

        def clip(g, w, name, spared):
            if spared:
                return g
            axes = unit_axes(name, g.ndim)
            largest = ratio * jnp.maximum(_norm(w, axes), eps)
            return g * jnp.minimum(1, largest / jnp.maximum(_norm(g, axes), 1e-6))

        return jax.tree.map(clip, updates, params, names, pytree.mask(updates, exclude)), state

    return optax.GradientTransformation(init, update)


def unit_axes(name: str, ndim: int) -> tuple[int, ...]:
    """The axes of a parameter that belong to one output unit; all axes where it has no units."""
    if ndim >= 2 and name.endswith("kernel"):
        return tuple(range(ndim - 1))
    if ndim >= 2 and name.endswith("_weight"):
        return tuple(range(1, ndim))
    return tuple(range(ndim))


def _norm(x, axes):
    return jnp.sqrt(jnp.sum(jnp.square(x), axis=axes, keepdims=True))
