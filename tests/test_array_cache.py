"""Arrays kept in a file: only whole ones of the same key are taken."""

import numpy as np
import pytest

from jaxcls import array_cache
from jaxcls.errors import UserError


def test_what_was_written_with_a_key_comes_back_with_it_alone(tmp_path):
    path = tmp_path / "x.npz"
    assert array_cache.read(path, "a") is None
    array_cache.write(path, "a", features=np.arange(6.0).reshape(2, 3), label=np.array([1, 0]))
    found = array_cache.read(path, "a")
    assert found.keys() == {"features", "label"}
    np.testing.assert_array_equal(found["features"], np.arange(6.0).reshape(2, 3))
    assert array_cache.read(path, "b") is None


@pytest.mark.parametrize("left", [0, 1, 40, -1])
def test_a_file_that_was_cut_off_counts_as_none(tmp_path, left):
    path = tmp_path / "x.npz"
    array_cache.write(path, "a", features=np.arange(6.0))
    path.write_bytes(path.read_bytes()[:left])
    assert array_cache.read(path, "a") is None


def test_where_it_cannot_be_written_is_told(tmp_path):
    with pytest.raises(UserError, match="can't be written"):
        array_cache.write(tmp_path / "none" / "x.npz", "a", features=np.zeros(1))
