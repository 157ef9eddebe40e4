"""The tokeniser of CLIP: byte pairs, joined in the order in which a vocabulary lists them.

Sennrich et al. 2016 (arXiv 1508.07909) over bytes (Radford et al. 2019, "Language models are unsupervised multitask
learners", section 2.2), lower case, as Radford et al. 2021 (2103.00020, section 2.4). The vocabulary is a file of
others: `bpe_simple_vocab_16e6.txt.gz` of OpenAI's CLIP, which the package open_clip_torch ships, too, or the
`merges.txt` beside CLIP's weights on Hugging Face.
"""

import functools
import gzip
import html
import math
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxcls.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Int32

CONTEXT = 77  # tokens of a text, both ends included
MERGES = 49152 - 256 - 2  # how many of the file's count; the published one lists more
_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
_MOST = 64 * 2**20  # bytes of a vocabulary, unpacked


class Tokeniser:
    """Texts to rows of numbers.

    Differs from the authors' in two ways: texts are composed (NFC) but not repaired (ftfy), and the names of the two
    special tokens within a text are text.

    Args:
      merges: pairs of pieces, the first joined first.

    Attributes:
      size: of the vocabulary. start, end: the tokens around a text.
    """

    def __init__(self, merges: Sequence[tuple[str, str]]):
        letters = [*_bytes().values()]
        pieces = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges)]
        self._number = {piece: i for i, piece in enumerate(pieces)}
        self._rank = {pair: i for i, pair in enumerate(merges)}
        self.size = len(pieces) + 2
        self.start, self.end = self.size - 2, self.size - 1

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without the two around it."""
        whole = unicodedata.normalize("NFC", html.unescape(html.unescape(text)))
        clean = " ".join(whole.split()).lower()
        return [token for word in _words(clean) for token in self._tokens(word)]

    def __call__(self, texts: Sequence[str], context: int = CONTEXT) -> "Int32[np.ndarray, 'n context']":
        """A row for each text: start, its tokens, end, then zeros. What is too long is cut before the end."""
        rows = np.zeros((len(texts), context), np.int32)
        for row, text in zip(rows, texts, strict=True):
            tokens = [self.start, *self.encode(text)[: context - 2], self.end]
            row[: len(tokens)] = tokens
        return rows

    @functools.lru_cache(maxsize=2**16)  # noqa: B019  # a program has one or two tokenisers
    def _tokens(self, word):
        letters = _bytes()
        pieces = [letters[byte] for byte in word.encode()]
        pieces[-1] += "</w>"
        while len(pieces) > 1:
            best = min(zip(pieces, pieces[1:], strict=False), key=lambda pair: self._rank.get(pair, math.inf))
            if best not in self._rank:
                break
            pieces = [*_joined(pieces, best)]
        return [self._number[piece] for piece in pieces]


def read(path: str | Path) -> Tokeniser:
    """The tokeniser of a vocabulary: a file with a pair a line in the order of joining, packed by gzip or not.

    Raises:
      UserError: for a file that is missing or none.
    """
    lines = _text(Path(path)).split("\n")[1 : MERGES + 1]  # the first line says what it is
    merges = [tuple(line.split()) for line in lines if line.strip()]
    if not merges or any(len(pair) != 2 for pair in merges):
        raise UserError(
            f"{path} is no vocabulary of byte pairs, which has two pieces a line; CLIP's is called "
            "bpe_simple_vocab_16e6.txt.gz (in the package open_clip_torch), or merges.txt beside its weights"
        )
    return Tokeniser([(a, b) for a, b in merges])


def _text(path):
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            with gzip.open(path) as file:
                data = file.read(_MOST + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"the vocabulary {path} is damaged ({error}); get it again") from error
    except OSError as error:
        raise UserError(f"the vocabulary {path} can't be read: {error.strerror or error}") from error
    if len(data) > _MOST:
        raise UserError(f"{path} is too large for a vocabulary: above {_MOST // 2**20} MiB")
    return data.decode("utf-8", "replace")


@functools.cache
def _bytes() -> dict[int, str]:
    """Byte -> the letter that stands for it: itself where it can be seen, else one from 256 on; visible ones first."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in set(seen)]
    return {byte: chr(byte) for byte in seen} | {byte: chr(256 + i) for i, byte in enumerate(rest)}


def _words(text: str) -> Iterator[str]:
    """Runs of letters, single numerals, runs of other signs; contractions come off; spaces are left out."""
    i = 0
    while i < len(text):
        if found := next((end for end in _CONTRACTIONS if text.startswith(end, i)), ""):
            yield found
            i += len(found)
            continue
        kind, start = _kind(text[i]), i
        i += 1
        while kind in "LS" and i < len(text) and _kind(text[i]) == kind:
            i += 1
        if kind:
            yield text[start:i]


def _kind(letter):
    """L(etter), N(umeral), S(ign); "" for a space."""
    if letter.isspace():
        return ""
    category = unicodedata.category(letter)[0]
    return category if category in "LN" else "S"


def _joined(pieces, pair):
    """The pieces with every such pair, from the left, as one."""
    i = 0
    while i < len(pieces):
        both = tuple(pieces[i : i + 2]) == pair
        yield pieces[i] + pieces[i + 1] if both else pieces[i]
        i += 1 + both
