"""Cells of a table as numbers: against scikit-learn, by hand, and each mistake in one line."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcls import columns
from jaxcls.columns import Column
from jaxcls.errors import UserError

AGES = ["40", "50.5", "", "61", "NaN", "38"]
PLACES = ["north", "south", "", "south", "west", "north"]


def test_numbers_and_categories_are_those_of_scikit_learn():
    from sklearn.impute import MissingIndicator
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    age, place = columns.fitted("age", "", AGES, "x"), columns.fitted("place", "", PLACES, "x")
    found = columns.encoded([age, place], {"age": AGES, "place": PLACES})
    raw = np.array([float(cell or "nan") for cell in AGES])[:, None]
    scaled = np.nan_to_num(StandardScaler().fit_transform(raw))
    words = np.array(PLACES)[:, None]
    hot = OneHotEncoder(categories=[["", "north", "south", "west"]], sparse_output=False).fit_transform(words)
    wanted = np.concatenate([scaled, MissingIndicator().fit_transform(raw), hot], axis=1)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert found.dtype == np.float32
    assert columns.places([age, place]) == {"age": slice(0, 2), "place": slice(2, 6)}


def test_what_training_did_not_have_counts_as_missing_and_slips_are_cut_off():
    column = columns.fitted("place", "", PLACES, "x")
    assert column.encoded(["east", "west"]).tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]
    assert "1 cell(s) that were not in training, such as 'east'" in column.remarks(["east", "west"])[0]
    age = Column("age", mean=50.0, std=10.0)
    assert age.encoded(["5000", "-5000", "n/a"]).tolist() == [[10, 0], [-10, 0], [0, 1]]
    assert "empty in 1 of 3 rows" in age.remarks(["5000", "-5000", "n/a"])[0]
    assert columns.unknown([age, column]).tolist() == [0, 1, 1, 0, 0, 0]


CELLS = st.lists(st.one_of(st.floats(-1e30, 1e30).map(repr), st.just("")), min_size=2, max_size=8)
VALUES = st.lists(st.one_of(st.floats(allow_nan=True), st.none()), max_size=5)


@settings(max_examples=50, deadline=None)
@given(CELLS.filter(lambda cells: len(set(cells) - {""}) > 1), VALUES)
def test_any_numbers_survive_json_and_are_finite(cells, others):
    column = columns.fitted("x", "", cells, "x")
    again = columns.of_json(json.loads(json.dumps(columns.to_json([column]))))[0]
    assert again == column
    others = [text for text in map(columns.text, others) if "inf" not in text]
    assert np.isfinite(again.encoded(others)).all() and again.encoded(others).shape == (len(others), 2)


@pytest.mark.parametrize(
    "kind, cells, message",
    [
        ("", ["", "NaN"], "is empty in all 2 training rows"),
        ("", ["3", "3"], "is '3' in all training rows"),
        ("", ["1", "2", "3", "many"], "1 of 4 cells are none, such as 'many'; mend or empty"),
        ("number", ["1", "2", "old"], "'old' in row 3, which is no number"),
        ("", [f"p{i}" for i in range(9)], "has 9 values in 9 training rows, one for each, as a name has"),
        ("", [f"p{i % 150}" for i in range(300)], "has 150 values in 300 training rows, more than 100"),
        ("", [str(i) for i in range(500, 530)], "counts the rows (500 to 529, each once)"),
        ("", ["1e308", "-1e308", "1.7e308"], "too large to be averaged"),
    ],
)  # fmt: skip
def test_a_column_that_tells_nothing_is_refused(kind, cells, message):
    with pytest.raises(UserError) as error:
        columns.fitted("x", kind, cells, "here")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_column_is_named_with_its_kind():
    there = ["age", "a:number"]
    assert columns.named("age", there, "x", {}) == ("age", "")
    assert columns.named("age:category", there, "x", {}) == ("age", "category")
    assert columns.named("a:number", there, "x", {}) == ("a:number", "")
    with pytest.raises(UserError, match="no column 'agee'; did you mean 'age'"):
        columns.named("agee", there, "x", {})
    with pytest.raises(UserError, match="'breed' is the column of the label"):
        columns.named("breed", there, "x", {"breed": "label"})


def test_a_column_that_is_the_label_in_other_words_is_refused():
    labels, cells = np.array([0, 1, 0, 1]), ["X", "Y", "X", "Y"]
    with pytest.raises(UserError, match="says the class of every training row: it is the label"):
        columns.check_leak(columns.fitted("x", "", cells, "x"), cells, labels, "here")
    finer = ["a", "b", "c", "b", "a", "c"]
    column = columns.fitted("x", "", finer, "x")
    assert "is it known before" in columns.check_leak(column, finer, np.array([0, 1, 1, 1, 0, 1]), "here")
    assert columns.check_leak(column, finer, np.array([0, 1, 1, 0, 0, 1]), "here") == ""
