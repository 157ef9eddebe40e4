"""A model of its description: as the registry builds it, without what it does not keep, rounding to 8 bits."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxcls.errors import UserError, did_you_mean
from jaxcls.prune import build as pruned
from jaxcls.prune.program import PICTURES
from jaxcls.quantize import places
from jaxcls.quantize.quantised import Quantised, traced

FORMS = {"int8": "any", "int8(vnni)": "vnni", "int8(arm)": "arm"}  # config.model.quantize -> Quantised.target
MOSTLY = 0.5  # share of the multiply-adds that must be in convolutions, as for static INT8 of a float run


def create(spec: Mapping[str, Any], **fields: Any) -> Any:
    """As `prune.build.create`, of {.., "quantize"}, the last one optional. Raises UserError where that can't be."""
    return of_module(pruned.create(spec, **fields), spec.get("quantize", ""))


def of_module(module: Any, form: str) -> Any:
    """The model, or for a form of `FORMS` what it is in INT8. Raises UserError for another form."""
    if not form:
        return module
    if form not in FORMS:
        hint = did_you_mean(form, list(FORMS)) or f"; it can be {', '.join(FORMS)}."
        raise UserError(f"config.model.quantize: there is no {form!r}{hint}")
    return Quantised(module, FORMS[form])


def check(model: Any, precision: str, picture: Sequence[int]) -> None:
    """Raises UserError for a model that training in INT8 is not for; `picture`: [height, width, channels]."""
    if not isinstance(model, Quantised):
        return
    if precision != "float32":
        raise UserError(
            f"config.model.quantize rounds what is computed to 8 bits, and {precision} would round it before: set "
            "config.precision=float32."
        )
    images = jax.ShapeDtypeStruct((PICTURES, *picture), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    variables = jax.eval_shape(lambda key, x: model.module.init(key, x, train=False), key, images)
    found = places.find(traced(model.module, variables, images)[0])
    share = found.in_convolutions / max(1, found.in_all)
    if share < MOSTLY:
        raise UserError(
            f"config.model.quantize is for nets of convolutions, and {100 * share:.0f} % of this model's multiply-adds "
            "are in convolutions: train it in float; `jaxcls export --int8` makes its products INT8 without training."
        )
