"""A file that some runtime has opened (`runtime.session`, `runtime.litert`)."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or output: its name, its dtype as ONNX Runtime writes it ("uint8", "float", "float16"), its shape, in
    which what is open is a name or None; shape None where not even the rank is known."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None


@dataclasses.dataclass(frozen=True)
class Session:
    """An opened file; `metadata` is what it says about itself, `runtime` what computes it. `run` asks it. May be asked
    from several threads."""

    path: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    metadata: Mapping[str, str]
    handle: Any
    runtime: str = "ONNX Runtime"
