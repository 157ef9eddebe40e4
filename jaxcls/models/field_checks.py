"""What fields of models can be, as far as their defaults and names tell."""

import math
from collections.abc import Iterable
from typing import Any

from jaxcls.errors import UserError
from jaxcls.models.layers.remat import REMAT

RATES = ("dropout", "aux_dropout", "block_dropout", "drop_rate", "stochastic_depth", "momentum")  # in [0, 1)
# Fields that others set -> where a run has them.
RESERVED = {
    "num_classes": "it follows from the data",
    "dtype": "set config.precision",
    "axis_name": "set config.parallel.batch_norm",
    "neck": "set config.model.neck",
    "name": "set config.model.name",
    "parent": "no model has it",
}
LARGEST = 2**31 - 1


def refuse_reserved(fields: Iterable[str], where: str = "config.model.fields.") -> None:
    """Raises UserError for a field that the run itself gives its model."""
    for field in fields:
        if field in RESERVED:
            raise UserError(f"{where}{field} can't be set: {RESERVED[field]}.")


def check(model: str, field: str, value: Any, usual: Any) -> None:
    """Raises UserError for a value that the field cannot have.

    Its kind is that of its default, `usual`: whole numbers are not negative, numbers finite and not negative, rates
    below 1. A field without a default (None) takes any text or whole number. What fits together only the model knows.
    """
    wanted = _wanted(field, value, usual)
    if wanted:
        text = repr(value)
        shown = text if len(text) <= 80 else f"{text[:60]}..."
        raise UserError(f"field {field!r} of model {model!r} must be {wanted}, not {shown}")


def _wanted(field, value, usual):
    """What the value should be; "" where it may be one."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if callable(usual) or _holds_functions(usual):
        return "" if callable(value) or _holds_functions(value) else "a function or class, which no text names"
    if field == "remat":
        names = " or ".join(map(repr, REMAT))
        return "" if isinstance(value, bool) or value in REMAT else f"True or False, or {names}"
    if isinstance(usual, bool):
        return "" if isinstance(value, bool) else "True or False"
    if isinstance(usual, int):
        return "" if whole and 0 <= value <= LARGEST else "a whole number that is not negative"
    if isinstance(usual, float):
        number = (whole or isinstance(value, float)) and 0 <= value < (1 if field in RATES else math.inf)
        return "" if number else f"a number from 0{' and below 1' if field in RATES else ', and finite'}"
    if isinstance(usual, str):
        return "" if isinstance(value, str) else f"a text such as {usual!r}"
    if isinstance(usual, tuple):
        return "" if isinstance(value, tuple) and value and _finite(value) else f"a tuple such as {str(usual)[:60]}"
    return "" if value is None or isinstance(value, str) or (whole and 0 <= value <= LARGEST) else "None or one value"


def _holds_functions(value):
    return isinstance(value, tuple) and any(map(callable, value))


def _finite(value):
    """Whether all numbers in nested tuples are finite and not negative."""
    if isinstance(value, tuple):
        return all(map(_finite, value))
    return not isinstance(value, (int, float)) or 0 <= value <= LARGEST
