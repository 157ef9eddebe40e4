"""The tokeniser that a vocabulary is for."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from jaxcls.errors import UserError
from jaxcls.words import bpe, pieces

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int32


class Tokenise(Protocol):
    """Texts and a length to rows of tokens; `size` of them are known."""

    size: int

    def __call__(self, texts: Sequence[str], context: int, /) -> "Int32[np.ndarray, 'n context']": ...


def read(path: str | Path) -> Tokenise:
    """Texts and a length to rows of tokens, by a vocabulary of byte pairs (CLIP) or of sentencepiece (SigLIP).

    Raises:
      UserError: for a file that is missing, damaged or neither.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise UserError(f"the vocabulary {path} can't be read: {error.strerror or error}") from error
    if head[:2] == b"\x1f\x8b" or not (b"\x00" in head or head[:1] == b"\n"):
        return bpe.read(path)
    return pieces.read(path)
