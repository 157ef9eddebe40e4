"""What was just written: read back before it is sealed; and a failed write, in one line."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls.checkpoints import names, view
from jaxcls.checkpoints.arrays import Tensor, read_both
from jaxcls.errors import UserError

READ = 4 << 20  # bytes of an array at most: milliseconds


def read_back(folder: Path, saved: Mapping[str, Tensor]) -> None:
    """Reads a committed step through the readers' own path, so that none is sealed that nobody can read.

    Every name, shape and type, the metadata, the step's number and the values of the largest array within `READ`; not
    all values, which would take as long as writing them.

    Args:
      folder: of the step.
      saved: name -> Tensor of what was given to Orbax.

    Raises:
      UserError: where something of it is not what was written.
    """
    try:
        sizes = {name: tensor.nbytes for name, tensor in saved.items() if tensor.nbytes <= READ}
        tensors, arrays = read_both(folder, {"step", max(sizes, key=sizes.__getitem__)})
        wrong = [name for name in sorted({*saved, *tensors}) if saved.get(name) != tensors.get(name)]
        if wrong:
            raise UserError(f"{wrong[0]} is {tensors.get(wrong[0])} and was {saved.get(wrong[0])}")
        if int(arrays["step"]) != int(folder.name):
            raise UserError(f"it says that it is of step {arrays['step']}")
        view.read_meta(folder)
    except UserError as error:
        raise UserError(
            f"checkpoint {names.shown(folder)} was written and can't be read back: {error}. Nothing is lost of earlier "
            "checkpoints; try another --workdir, on another disk."
        ) from error


class AsUserError:
    """Turns a failed write into one line. What was committed before stays good."""

    def __init__(self, workdir: Path):
        self.workdir = workdir

    def __enter__(self) -> "AsUserError":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        cause: BaseException | None = (
            error if isinstance(error, Exception) and not isinstance(error, UserError) else None
        )
        while cause is not None and not isinstance(cause, OSError):
            # TensorStore raises ValueErrors that end in "...: No space left on device [os_error_code='28']".
            if match := re.search(r"([^:]+) \[os_error_code", str(cause)):
                cause = OSError(0, match[1].strip())
                break
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            raise UserError(
                f"a checkpoint in {self.workdir} can't be written: {cause.strerror or cause}; free some space, or mend "
                "what is wrong there. Earlier checkpoints are intact, and the same command goes on from the newest."
            ) from error


def misfits(have: Mapping[str, Tensor], want: Mapping[str, Any]) -> list[str]:
    """Where the tensors of a checkpoint (name -> Tensor) are not those of a state (name -> array), in words."""
    new = {n: f"{x.dtype if hasattr(x, 'dtype') else np.asarray(x).dtype} {np.shape(x)}" for n, x in want.items()}
    old = {name: f"{t.dtype} {t.shape}" for name, t in have.items()}
    found = [f"{n} is {old[n]}, the config wants {new[n]}" for n in new if n in old and old[n] != new[n]]
    found += [f"{n} is missing in it" for n in new if n not in old]
    return found + [f"{n} of it is not in the model" for n in old if n not in new]
