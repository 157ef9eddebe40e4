"""Names of types that several rooms share. Only for annotations: nothing here loads JAX."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jax
    import numpy as np

    Array = jax.Array | np.ndarray
else:
    Array = Any

PyTree = Any  # nested dicts, lists and tuples of arrays
Batch = dict[str, Any]  # docs/design.md, The batch: name -> array
Figures = dict[str, Any]  # name -> number, or what JSON takes
Note = Callable[[str], None]  # where a line for the user goes
PathLike = str | os.PathLike[str]
