"""Arrays kept in a file: only whole ones of the same key are taken."""

import numpy as np
import pytest

from jaxcls import files
from jaxcls.errors import UserError


def test_what_was_written_with_a_key_comes_back_with_it_alone(tmp_path):
    path = tmp_path / "x.npz"
    assert files.read_arrays(path, "a") is None
    files.write_arrays(path, "a", features=np.arange(6.0).reshape(2, 3), label=np.array([1, 0]))
    found = files.read_arrays(path, "a")
    assert found.keys() == {"features", "label"}
    np.testing.assert_array_equal(found["features"], np.arange(6.0).reshape(2, 3))
    assert files.read_arrays(path, "b") is None


@pytest.mark.parametrize("left", [0, 1, 40, -1])
def test_a_file_that_was_cut_off_counts_as_none(tmp_path, left):
    path = tmp_path / "x.npz"
    files.write_arrays(path, "a", features=np.arange(6.0))
    path.write_bytes(path.read_bytes()[:left])
    assert files.read_arrays(path, "a") is None


def test_where_it_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match="can't be written"):
        files.write_arrays(tmp_path / "file" / "x.npz", "a", features=np.zeros(1))


def test_replacing_keeps_the_old_file_whatever_goes_wrong(tmp_path):
    path = tmp_path / "new" / "x.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ValueError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise ValueError
    assert files.read_json(path) == {"a": 1} and [p.name for p in path.parent.iterdir()] == ["x.json"]


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe", b'{"a": 1'])
def test_json_that_is_missing_or_damaged_is_none(tmp_path, content):
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    assert files.read_json(tmp_path / "x.json") is None
