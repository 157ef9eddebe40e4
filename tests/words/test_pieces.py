"""SigLIP's tokens, by a small model of sentencepiece that is trained here: what the library itself gives, prepared as
big_vision prepares texts."""

import io

import numpy as np
import pytest

from jaxcls.errors import UserError
from jaxcls.words import pieces, templates, tokenisers

sentencepiece = pytest.importorskip("sentencepiece")
TEXTS = [f"a photo of a {colour} {thing}" for colour in ("red", "blue", "green") for thing in ("truck", "fox", "house")]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20), model_writer=model, vocab_size=24, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        minloglevel=2,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("pieces") / "sentencepiece.model"
    path.write_bytes(model.getvalue())
    return path


def test_rows_are_the_librarys_tokens_then_ends(path):
    rows = tokenisers.read(path)(["A  photo of a RED truck!", "", " ".join(TEXTS)], 48)
    library = sentencepiece.SentencePieceProcessor(model_file=str(path))
    tokens = library.encode("a photo of a red truck")
    assert rows.dtype == np.int32 and rows[0].tolist() == tokens + [1] * (48 - len(tokens)) and len(tokens) < 48
    assert rows[1].tolist() == [1] * 48
    assert rows[2].tolist() == [*library.encode(" ".join(TEXTS))[:47], 1]


def test_another_file_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"\x00\x01\x02" * 100)
    with pytest.raises(UserError, match="neither a vocabulary of byte pairs nor a model of sentencepiece"):
        pieces.read(tmp_path / "file")


def test_templates_are_sets_sentences_and_files(tmp_path):
    (tmp_path / "file").write_text("\ufeffa {}.\n\n  the {}, a pet. \n", encoding="utf-8")
    found = templates.read(["name", "photo", str(tmp_path / "file"), "a {}."])
    assert found == ("{}", "a photo of a {}.", "a {}.", "the {}, a pet.")
    assert templates.filled(found[:2], "red__fox") == ["red fox", "a photo of a red fox."]
    assert len(templates.read(["seven"])) == 7


@pytest.mark.parametrize(
    ("content", "match"), [(None, "no file"), ("a\nb {}\nc", "2 of its 3 lines"), ("\n", "no sentence")]
)
def test_what_is_no_template_is_one_line(tmp_path, content, match):
    if content is not None:
        (tmp_path / "file").write_text(content)
    with pytest.raises(UserError, match=match):
        templates.read([str(tmp_path / "file")])


@pytest.mark.parametrize(
    ("content", "match"),
    [(None, "can't be read"), ("a,b\n", "first line is class,words"), ("class,words\nfox\n", "1 lines do not have")],
)
def test_what_is_no_table_of_words_is_one_line(tmp_path, content, match):
    if content is not None:
        (tmp_path / "file").write_text(content)
    with pytest.raises(UserError, match=match):
        templates.words(tmp_path / "file")
    (tmp_path / "good").write_text("class,words\nn02,red fox\n\nn03,'house, old'\n".replace("'", '"'))
    assert templates.words(tmp_path / "good") == {"n02": "red fox", "n03": "house, old"}
