"""Calls written as text: what is read, what is refused, and what stays text."""

import keyword
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcls import call_strings
from jaxcls.call_strings import ONE_OF
from jaxcls.errors import UserError

NAMES = st.text(string.ascii_lowercase + "_", min_size=1, max_size=8).filter(lambda word: not keyword.iskeyword(word))
SCALARS = st.one_of(
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.text(max_size=6),
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4)
CALLS = st.tuples(NAMES, st.lists(VALUES, max_size=3).map(tuple), st.dictionaries(NAMES, VALUES, max_size=3))
WEIGHTS = st.one_of(st.integers(1, 9), st.floats(0.25, 8))


class Everything:
    def __contains__(self, name):
        return True


def parse(text, known=("crop", "flip", "mixup"), **options):
    return call_strings.parse(text, known, what="config.x", kind="transform", like="'crop(32, pad=4)'", **options)


def written(call):
    name, args, kwargs = call
    return f"{name}({', '.join([*map(repr, args), *(f'{key}={value!r}' for key, value in kwargs.items())])})"


@given(CALLS)
def test_a_call_written_out_is_read_as_it_was(call):
    assert parse(written(call), Everything()) == call


@given(st.lists(st.tuples(WEIGHTS, CALLS), min_size=2, max_size=3))
def test_so_are_alternatives(choices):
    text = " | ".join(f"{weight!r} * {written(call)}" for weight, call in choices)
    weights, calls = zip(*choices, strict=True)
    assert parse(text, Everything(), alternatives=True) == (ONE_OF, calls, {"weights": weights})
    with pytest.raises(UserError, match="can't be read"):
        parse(text, Everything())


@given(CALLS)
def test_a_call_stays_text_as_a_setting(call):
    """And is one item, whatever commas it has."""
    text = call_strings.literal(written(call))
    assert parse(text, Everything()) == call
    assert call_strings.literals(f"{text}, {text}") == [text, text]


@given(VALUES)
def test_a_literal_is_its_value(value):
    assert call_strings.literal(repr(value)) == value
    assert call_strings.literals(f"({value!r}, 1)") == [value, 1]


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused_in_one_line(text):
    call_strings.literal(text), call_strings.literals(text)
    try:
        parse(text, alternatives=True)
    except UserError as error:
        assert "\n" not in str(error) and str(error).startswith("config.x: ")


@pytest.mark.parametrize(
    "text, known",
    [
        ("", []),
        ("cifar", ["cifar"]),
        ("1, 2", [1, 2]),
        ("(0.5,)", [0.5]),
        ("[flip, 'x']", ["flip", "x"]),
        ("crop(32,pad=4)", ["crop(32, pad=4)"]),
        ("mixup(0.2)|2*cutmix(1.0)", ["mixup(0.2) | 2 * cutmix(1.0)"]),
        ("crop(32, pad=4), flip", ["crop(32, pad=4)", "flip"]),
        ("stage1-2, conv1|bn1", ["stage1-2", "conv1|bn1"]),  # may be regular expressions
        ("layer1.0", ["layer1.0"]),
        ("^fc", ["^fc"]),
        ("crop(x+1)", ["crop(x+1)"]),
        ("(" * 500, ["(" * 500]),
    ],
)
def test_what_is_no_literal_stays_as_it_was_typed(text, known):
    assert call_strings.literals(text) == known


@pytest.mark.parametrize(
    "text",
    [
        "crop(size)",
        "crop(*(1, 2))",
        "crop(**{'a': 1})",
        "crop(a=1, a=2)",
        "a.b(1)",
        "flip | flip",
        "2 * flip",
        "flip + 1",
        "(" * 500,
        "crop(" + "-" * 5000 + "1)",
        None,
        3,
    ],
)
def test_what_is_no_call_is_refused(text):
    with pytest.raises(UserError, match=r"config.x: .* can't be read; write it like 'crop\(32, pad=4\)'\.$"):
        parse(text)


def test_the_nearest_name_is_named():
    with pytest.raises(UserError, match=r"^config.x: there is no transform 'flop'; did you mean 'flip'\?$"):
        parse("flop(1)")
    with pytest.raises(UserError, match=r"^config.x: there is no transform 'xyz'; there are crop, flip, mixup\.$"):
        parse("crop(1) | xyz", alternatives=True)


def test_arguments_that_do_not_fit_are_the_users():
    for wrong in (lambda: int("x"), lambda: int([])):
        refused = pytest.raises(UserError, match="^config.x: the arguments of 'crop' don't fit: .*int")
        with refused, call_strings.fitting("crop", "config.x"):
            wrong()
    with pytest.raises(KeyError), call_strings.fitting("crop", "config.x"):
        raise KeyError
