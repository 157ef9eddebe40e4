"""A table of latencies: what each block of a space takes in ONNX Runtime on this machine, as JSON."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls import files
from jaxcls.errors import UserError
from jaxcls.nas.costs import Tables, made
from jaxcls.nas.space import Space, block_text
from jaxcls.types import PathLike

# (height, width, channels that it sees, (kernel, expansion, width, stride)) -> milliseconds
Measure = Callable[[int, int, int, tuple[int, int, int, int]], float]


def measured(space: Space, measure: Measure, ends: Callable[[int], float]) -> Tables:
    """The tables of a space by measuring each block once: places that have the same block share its time.

    `ends`: width of the last stage -> milliseconds of all but the blocks.
    """
    known: dict[Any, float] = {}

    def of_block(*block):
        if block not in known:
            known[block] = measure(*block)
        return known[block]

    return made(space, of_block, ends)


def write(path: PathLike, space: Space, tables: Tables, about: dict[str, Any]) -> None:
    """Writes tables of milliseconds; `about`: of what machine, how measured."""
    content = {
        "space": fingerprint(space),
        "unit": "milliseconds a picture",
        "about": about,
        "blocks": [table.tolist() for table in tables.blocks],
        "ends": tables.ends.tolist(),
    }
    files.write_json(Path(path), content)


def read(path: PathLike, space: Space) -> Tables:
    """The tables of a file. Raises UserError for none, or those of another space."""
    what, remedy = f"config.nas.cost={str(path)!r}", "measure it: jaxcls nas --config=NAME --latency FILE"
    try:
        content = json.loads(Path(path).read_text())
        tables = Tables(tuple(np.array(table, float) for table in content["blocks"]), np.array(content["ends"], float))
        of = content["space"]
    except OSError as error:
        raise UserError(f"{what} can't be read: {error.strerror}; {remedy}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{what} holds no table of latencies; {remedy}") from error
    if of != fingerprint(space):
        raise UserError(f"{what} is of another space; {remedy}")
    return tables


def fingerprint(space: Space) -> str:
    """Of all that a table of latencies depends on but the machine."""
    return hashlib.sha256(repr(space).encode()).hexdigest()[:16]


def title(block: tuple[int, int, int, tuple[int, int, int, int]]) -> str:
    """A block that is measured, in words: "28x28x16 -> 3x3 e6 w24 /2"."""
    height, width, channels, made_of = block
    return f"{height}x{width}x{channels} -> {block_text(made_of)}"
