"""Lists of the training pictures that have labels."""

import numpy as np
import pytest

from jaxcls.data import row_lists
from jaxcls.data.base import ArraySource
from jaxcls.errors import UserError

IDS = ["train/cat/a.png", "train/cat/b.png", "train/dog/a.png", 'train/dog/"c, d".png']


def test_a_list_comes_back_as_it_was_written(tmp_path):
    row_lists.write(tmp_path / "list.csv", IDS[::-1])
    assert row_lists.read(tmp_path / "list.csv") == IDS[::-1]
    np.testing.assert_array_equal(row_lists.rows(IDS, row_lists.read(tmp_path / "list.csv"), "list"), range(4))


def test_names_of_files_alone_are_found_as_in_the_lists_of_simclr(tmp_path):
    (tmp_path / "1percent.txt").write_text("b.png\n\ntrain/dog/a.png\r\n")
    np.testing.assert_array_equal(row_lists.rows(IDS, row_lists.read(tmp_path / "1percent.txt"), "it"), [1, 2])


@pytest.mark.parametrize("name, message", [("a.png", "2 training pictures have"), ("x.png", "no training picture has")])
def test_a_name_of_none_or_of_several_is_refused(name, message):
    with pytest.raises(UserError, match=f"list: {message} the name '{name}'; theirs are like 'train/cat/a.png'"):
        row_lists.rows(IDS, [name], "list")


def test_a_list_that_can_not_be_read_is_one_line(tmp_path):
    (tmp_path / "empty.csv").write_text("\n")
    for name, message in (
        ("none.csv", "can't be read: No such file"),
        ("empty.csv", "is empty"),
        (".", "can't be read"),
    ):
        with pytest.raises(UserError, match=message):
            row_lists.read(tmp_path / name)


@pytest.mark.parametrize("wanted, counts", [(3, [1, 1, 1]), (29, [11, 11, 7]), (61, [27, 27, 7]), (100, [50, 43, 7])])
def test_draws_have_as_many_of_each_class_as_there_are(wanted, counts):
    labels = np.repeat([0, 1, 2, -1], [50, 43, 7, 20])
    rows = row_lists.balanced(labels, wanted, (0, 0))
    assert len(set(rows)) == wanted and np.bincount(labels[rows]).tolist() == counts
    np.testing.assert_array_equal(rows, row_lists.balanced(labels, wanted, (0, 0)))
    assert wanted == 100 or rows.tolist() != row_lists.balanced(labels, wanted, (0, 1)).tolist()


def test_amounts():
    assert [row_lists.amount(text, 50_000) for text in ("1%", "10 %", "0.2%", "500")] == [500, 5000, 100, 500]
    for text, message in (("many", "can be a share"), ("0%", "is 0 of"), ("60000", "is 60,000 of"), ("nan%", "share")):
        with pytest.raises(UserError, match=message):
            row_lists.amount(text, 50_000)
    with pytest.raises(UserError, match="fewer than the 3 classes"):
        row_lists.balanced(np.arange(3), 2, 0)


def test_a_source_restricted_to_a_list(tmp_path):
    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    source = ArraySource(images, np.array([0, 0, 1, 1]), ("cat", "dog"), ids=IDS)
    row_lists.write(tmp_path / "list.csv", [IDS[2], IDS[0]])
    found = row_lists.restricted(source, tmp_path / "list.csv")
    assert [found[i]["id"] for i in range(len(found))] == [IDS[0], IDS[2]]
