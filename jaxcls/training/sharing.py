"""What one process of several computes, known to all of them."""

import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxcls.errors import UserError


def from_main(compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `compute()` returns on process 0 (what JSON takes, NaN and infinities, too), known to all processes.

    The others do not call it. Whatever goes wrong there ends them with a UserError.
    """
    if jax.process_count() == 1:
        return compute()
    from jax.experimental import multihost_utils

    text, error = b"", None
    if jax.process_index() == 0:
        try:
            text = json.dumps(compute()).encode()
        except Exception as raised:
            error = raised
    length = int(multihost_utils.broadcast_one_to_all(np.int32(-1 if error else len(text))))
    if error:
        raise error
    if length < 0:
        raise UserError("process 0 can't go on; its output says why.")
    content = np.frombuffer(text.ljust(length), np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(content)).tobytes())
