"""Muon for matrices, AdamW for the rest."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import optax
from optax import contrib

from jaxcls import pytree
from jaxcls.optim.chain import DECAYED, chain
from jaxcls.optim.clipping import unit_axes
from jaxcls.optim.schedules import Schedule


def muon(
    learning_rate: Schedule,
    *,
    momentum: float = 0.95,
    nesterov: bool = True,
    matrices: Sequence[str] = DECAYED,
    exclude: Sequence[str] = (),
    adam_rate: float = 1.0,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    **common: Any,
) -> optax.GradientTransformationExtraArgs:
    """Muon: the momentum of each matrix, made orthogonal by five Newton-Schulz steps (Jordan et al., 2024).

    A kernel of a convolution is the matrix [height * width * in, out]. A step has the spectral norm of about
    sqrt(max(1, out / in)), whatever the gradient's size; rates of about 0.02 with decoupled decay are usual. Parameters
    that are no matrices, or are excluded, are stepped by AdamW. A joint matrix of queries, keys and values is made
    orthogonal as a whole, not by thirds.

    The pieces are optax's. Their momentum is an average with bias correction, where the author's is a plain average:
    the size cancels, and what differs is the share of the newest gradient in the first steps with `nesterov`.

    Args:
      learning_rate, momentum: of the matrices.
      nesterov: orthogonalise a mixture of the momentum and the newest gradient.
      matrices: regular expressions of parameters; those with fewer than two axes are no matrices all the same.
      exclude: regular expressions of matrices that AdamW steps; the author leaves out the first and the last layer.
      adam_rate: learning rate of AdamW's parameters / that of the matrices; `b1`, `b2` and `eps` are AdamW's.
      **common: see `chain.chain`.

    Raises:
      UserError: from the chain's `init`, if a pattern matches no parameter.
    """

    def labels(params):
        pytree.require_matches(params, matrices, "config.optim.decay_mask")
        pytree.require_matches(params, exclude, "config.optim.muon_exclude")
        return jax.tree.map(
            lambda x, named, spared: "muon" if named and not spared and x.ndim >= 2 else "adam",
            params,
            pytree.mask(params, matrices),
            pytree.mask(params, exclude),
        )

    def adam_rates(params):
        return jax.tree.map(lambda label: adam_rate if label == "adam" else 1.0, labels(params))

    orthogonal = optax.chain(
        contrib.scale_by_muon(beta=momentum, nesterov=nesterov, weight_dimension_numbers=_dimensions),
        optax.stateless(lambda updates, _: _map_names(_scale_by_shape, updates)),
    )
    rule = optax.partition({"muon": orthogonal, "adam": optax.scale_by_adam(b1=b1, b2=b2, eps=eps)}, labels)
    factors = [*common.pop("factors", ()), *([adam_rates] if adam_rate != 1 else [])]
    return chain(learning_rate, rule, decay="decoupled", factors=factors, **common)


def _dimensions(params):
    """Which axes are rows and columns of each matrix."""

    def one(name, x):
        rows = unit_axes(name, x.ndim)
        return contrib.MuonDimensionNumbers(rows, tuple(set(range(x.ndim)) - set(rows)))

    return _map_names(one, params)


def _scale_by_shape(name, x):
    rows = math.prod(x.shape[axis] for axis in unit_axes(name, x.ndim))
    return x * math.sqrt(max(1, x.size / rows / rows))


def _map_names(function, tree):
    """`function(name, leaf)` of every leaf; what `partition` has masked is none."""
    leaves = [function(name, leaf) for name, leaf in pytree.flatten_names(tree).items()]
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)
