"""Pictures by what they look like: the nearest by sorting all, and features that are kept until a file changes."""

import numpy as np
import pytest
from fake_predictor import Small
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jaxcls.errors import UserError
from jaxcls.predict import finding


class Embedding(Small):
    """Answers with the byte of a picture, and another number of it."""

    calls = 0
    variables = {"w": np.ones(2)}

    def features(self, images):
        type(self).calls += 1
        value = images.reshape(-1, 1).astype(np.float32)
        return np.concatenate([value, 100 - value], axis=1)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, byte in (("a.png", 90), ("b.png", 10), ("c.png", 50)):
        (folder / name).write_bytes(bytes([byte]))
    (folder / "empty.png").write_bytes(b"")
    return folder


def test_features_have_length_1_and_are_kept_until_a_file_or_the_weights_change(pictures, tmp_path, capsys):
    first = finding.bank(Embedding(), [str(pictures)], tmp_path / "find")
    assert [name.rpartition("/")[2] for name in first.names] == ["a.png", "b.png", "c.png"] and not first.kept
    assert np.linalg.norm(first.features, axis=1) == pytest.approx([1, 1, 1])
    assert first.features[1] == pytest.approx(np.array([10, 90]) / np.hypot(10, 90))
    assert "empty" in capsys.readouterr().err
    calls = Embedding.calls
    again = finding.bank(Embedding(), [str(pictures)], tmp_path / "find")
    assert again.kept and again.names == first.names and Embedding.calls == calls
    assert np.array_equal(again.features, first.features)
    (pictures / "b.png").write_bytes(b"\x20\x20")
    changed = finding.bank(Embedding(), [str(pictures)], tmp_path / "find")
    assert not changed.kept and not np.array_equal(changed.features, first.features)
    other = Embedding()
    other.variables = {"w": np.zeros(2)}
    assert not finding.bank(other, [str(pictures)], tmp_path / "find").kept


def test_without_a_picture_it_is_one_line(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(UserError, match="no picture that can be read"):
        finding.bank(Embedding(), [str(tmp_path)], tmp_path / "find")


@given(arrays(np.int8, st.tuples(st.integers(1, 40), st.just(3))), st.integers(1, 50))
def test_the_nearest_are_those_of_a_whole_sort(values, top):
    features = finding.unit(values.astype(np.float32))
    question = np.array([0.6, 0.8, 0.0], np.float32)
    rows, cosines = finding.nearest(features, question, top)
    every = features @ question
    assert rows.tolist() == np.argsort(-every, kind="stable")[:top].tolist()
    assert np.array_equal(cosines, every[rows])
