"""CLIP's tokens: against those that open_clip 3.3 gives (stored), by hand, and whatever a text holds.

merges.txt.gz is the published vocabulary with a blank in place of each pair that none of the stored texts joins, so the
numbers are the published ones.
"""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcls.errors import UserError
from jaxcls.words import bpe

HERE = Path(__file__).parent
STORED = json.loads((HERE / "tokens.json").read_text())


@pytest.fixture(scope="module")
def clip():
    return bpe.read(HERE / "merges.txt.gz")


@pytest.mark.parametrize(("text", "tokens"), STORED)
def test_tokens_are_open_clips(clip, text, tokens):
    row = clip([text])[0]
    assert row.dtype == np.int32 and row.shape == (77,)
    assert row.tolist() == tokens + [0] * (77 - len(tokens))


def test_sizes_are_those_of_the_published_vocabulary(clip):
    assert (clip.size, clip.start, clip.end) == (49408, 49406, 49407)


def test_pairs_are_joined_in_the_order_of_the_list():
    made = bpe.Tokeniser([("l", "o"), ("lo", "w</w>"), ("o", "w</w>")])
    first = 512  # after the bytes, and the bytes that end a word
    letter = made.encode("s")  # "s</w>"
    assert made.encode("low") == [first + 1]
    assert made.encode("lo low")[-1] == first + 1 and len(made.encode("lo")) == 2
    assert made.encode("ow") == [first + 2] and made.encode("how")[-1] == first + 2
    assert len(letter) == 1 and letter[0] < first


def test_what_is_too_long_ends_with_the_end(clip):
    row = clip(["cat " * 50], context=10)[0]
    assert row[0] == clip.start and row[-1] == clip.end and (row[1:-1] == clip.encode("cat")[0]).all()


@given(st.text())
def test_every_text_is_one_row_that_starts_and_ends_once(text):
    made = bpe.Tokeniser([("a", "b</w>")])
    row = made([text], context=32)[0].tolist()
    assert row[0] == made.start and row.count(made.end) == 1 and row.count(made.start) == 1
    assert set(row[row.index(made.end) + 1 :]) <= {0}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "two pieces a line"),
        (b"#version\nab c\nx y z\n", "two pieces a line"),
        (gzip.compress(b"#version\na b\n" * 100)[:-9], "damaged"),
        (b"\x1f\x8bno gzip", "damaged"),
    ],
)
def test_what_is_no_vocabulary_is_one_line(tmp_path, content, match):
    path = tmp_path / "vocabulary"
    path.write_bytes(content)
    with pytest.raises(UserError, match=match) as error:
        bpe.read(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_a_missing_vocabulary_is_one_line(tmp_path):
    with pytest.raises(UserError, match="can't be read"):
        bpe.read(tmp_path / "none.txt.gz")
