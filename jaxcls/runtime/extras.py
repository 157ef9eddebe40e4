"""What only some files of ours have in their metadata: what heat maps and distances need, and what a check found."""

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxcls.measure import outliers


def packed(array: np.ndarray, dtype: str) -> str:
    """An array as metadata hold it: "<f4" or "<f2" in base64; its shape is told elsewhere."""
    return base64.b64encode(np.ascontiguousarray(array, dtype).data).decode("ascii")


def _unpacked(text, dtype, *shape):
    return np.frombuffer(base64.b64decode(text, validate=True), dtype).reshape(shape)


def _mapping(text, values):
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError
    return value


def _features(text, values):
    found = _mapping(text, values)
    if not all(isinstance(found[key], str) for key in ("pre_logits", "map", "why_no_map")):
        raise ValueError
    if found["map"] and found["layout"] != "nchw":
        raise ValueError
    return found


def _head(text, values):
    return _unpacked(text, "<f4", -1, len(values["classes"]))


def _bank(text, values):
    """That which the decision names, whose SHA-256 it has."""
    far = values["decision"]["outliers"]["distance"]
    found = outliers.Bank(_unpacked(text, "<f2", far["count"], -1), far["k"])
    if outliers.digest(found) != far["sha256"] or far["k"] > far["count"]:
        raise ValueError
    return found


# key -> function(text, what was read before it) -> value; each raises KeyError, TypeError or ValueError
READERS: dict[str, Callable[[str, dict[str, Any]], Any]] = {
    "features": _features,
    "head": _head,
    "bank": _bank,
    "check": _mapping,
}
