"""Pictures with captions: a column of texts as a further leaf of a batch, `text`, int32 [context]."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxcls.data import metadata
from jaxcls.data.base import Around, ArraySource, Leaf, Source, Subset, digest, leaves
from jaxcls.errors import UserError, listed

TEXT = "text"


def added(source: Source, column: str, tokenise: Callable[[Sequence[str], int], np.ndarray], context: int) -> Source:
    """The source with the tokens of a column.

    Args:
      source: whose rows have the column (`metadata.rows`).
      column: its name.
      tokenise: texts and a length to rows of tokens.
      context: tokens of a row.

    Raises:
      UserError: for a source without such a column, or a row without a text.
    """
    names, found = metadata.rows(source)
    if column not in found:
        raise UserError(
            f"config.words.column is {column!r}, and the pictures have no such column of captions; there are "
            f"{listed(found) or 'none'}. A table has one beside path: table/FILE."
        )
    texts = [str(text or "").strip() for text in found[column]]
    if bare := [i for i, text in enumerate(texts) if not text]:
        told = f"{len(bare)} of {len(texts)} pictures have no caption in {column!r}"
        raise UserError(f"{told}, the first is {names[bare[0]]!r:.100}")
    different = sorted(set(texts))
    rows = dict(zip(different, tokenise(different, context), strict=True))
    return _with(source, np.stack([rows[text] for text in texts]))


def _with(source, tokens):
    if isinstance(source, ArraySource):
        return ArraySource(source.images, source.labels, source.classes, source.ids, more={**source.more, TEXT: tokens})
    if isinstance(source, Subset) and not hasattr(source, "arrays"):
        whole = np.zeros((len(source.source), tokens.shape[1]), np.int32)
        whole[source.indices] = tokens
        return Subset(Captioned(source.source, whole), source.indices)
    return Captioned(source, tokens)


class Captioned(Around):
    """A source with tokens; `added` makes it. Whatever else it has is the source's."""

    def __init__(self, source: Source, tokens: np.ndarray):
        self.inner, self.tokens = source, tokens
        self.leaves = {**leaves(source), TEXT: Leaf(tokens.shape[1:], np.dtype(np.int32))}

    @functools.cached_property
    def fingerprint(self) -> str:
        """Another one than the source's."""
        return digest(self.inner.fingerprint.encode(), np.ascontiguousarray(self.tokens))

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {**self.inner[row], TEXT: self.tokens[row]}
