"""Pictures with captions: a column of texts as a further leaf of a batch, `text`, int32 [context]."""

from collections.abc import Callable, Sequence

import numpy as np

from jaxcls.data import metadata
from jaxcls.data.base import Source
from jaxcls.data.beside import with_leaf
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
    return with_leaf(source, TEXT, np.stack([rows[text] for text in texts]))
