"""What blocks keep that are computed again in the backward pass (the field `remat`)."""

from collections.abc import Callable
from typing import Any

from jaxcls.errors import UserError

REMAT = ("products", "projections")
CONVOLUTION, PRODUCT = "conv_general_dilated", "dot_general"


def remat_policy(value: bool | str) -> Callable[..., bool] | None:
    """jax.checkpoint's policy of a value of `remat`; None for keeping nothing.

    "products" keeps what convolutions and matrix products give, and computes norms, activations and softmax again,
    which cost little; "projections" keeps those by weights, and computes the scores of attention again, too
    (jax.checkpoint_policies.dots_saveable and dots_with_no_batch_dims_saveable know no convolutions).

    Raises:
      UserError: for another value.
    """
    if value in (True, False):
        return None
    if value not in REMAT:
        raise UserError(f"remat is {value!r}; it can be True, False, {' or '.join(map(repr, REMAT))}")

    def keeps(primitive: Any, *_: Any, **parameters: Any) -> bool:
        if primitive.name == CONVOLUTION:
            return True
        batched = primitive.name == PRODUCT and any(parameters["dimension_numbers"][1])
        return primitive.name == PRODUCT and (value == "products" or not batched)

    return keeps
