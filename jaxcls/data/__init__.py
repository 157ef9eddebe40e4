"""Pictures and labels: where they come from, how they are split, decoded and fed.

`sources` opens a set by its name (`digits`, `tfds/<name>`, `folder/<path>`, `table/<file>`, ...), and a module each
reads a kind: `folder`, `unlabelled`, `tfds_source`, `table`, `names`, `arrays_file`, `shards`, `hf`,
`records`. `splits` divides one by class, `decode` turns encoded bytes into arrays and finds unreadable pictures.
`from_arrays` makes sources of NumPy arrays. Nothing here imports TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxcls.data.arrays import from_arrays as from_arrays

__all__ = ["from_arrays"]


def __getattr__(name: str) -> Any:
    if name == "from_arrays":
        return importlib.import_module("jaxcls.data.arrays").from_arrays
    raise AttributeError(f"module 'jaxcls.data' has no attribute {name!r}")
