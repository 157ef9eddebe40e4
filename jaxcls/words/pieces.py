"""The tokeniser of SigLIP: pieces of sentences, by sentencepiece (Kudo and Richardson 2018, arXiv 1808.06226).

As big_vision and open_clip prepare texts for SigLIP: lower case, without punctuation, one space between words.
"""

import string
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Int32

END = 1  # the end of a sentence, with which a row is filled up
_NO_MARKS = str.maketrans("", "", string.punctuation)


class Tokeniser:
    """Texts to rows of numbers; `model` is a SentencePieceProcessor."""

    def __init__(self, model: Any):
        self._model = model
        self.size = model.vocab_size()

    def __call__(self, texts: Sequence[str], context: int = 64) -> "Int32[np.ndarray, 'n context']":
        """A row for each text: its tokens, then ends. What is too long is cut before an end."""
        rows = np.full((len(texts), context), END, np.int32)
        for row, text in zip(rows, texts, strict=True):
            tokens = self._model.encode(" ".join(text.lower().translate(_NO_MARKS).split()))[: context - 1]
            row[: len(tokens)] = tokens
        return rows


def read(path: str | Path) -> Tokeniser:
    """The tokeniser of a model of sentencepiece. Raises UserError for another file, or without that package."""
    try:
        import sentencepiece
    except ImportError as error:
        raise UserError(
            f"{path} is no vocabulary of byte pairs; for one of sentencepiece: pip install sentencepiece"
        ) from error
    model = sentencepiece.SentencePieceProcessor()
    try:
        model.load(str(path))
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path} is neither a vocabulary of byte pairs nor a model of sentencepiece") from error
    return Tokeniser(model)
