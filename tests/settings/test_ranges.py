"""What numbers of a config may be, and what is said of keys that do not exist."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcls.defaults import default_config, flatten
from jaxcls.settings.hints import ELSEWHERE, unknown_key
from jaxcls.settings.ranges import RANGES, out_of_range


def changed(**values):
    config = default_config()
    with config.unlocked(), config.ignore_type():
        config.update_from_flattened_dict({key.replace("__", "."): value for key, value in values.items()})
    return config


def test_the_defaults_are_in_range_and_every_number_has_one():
    defaults = dict(flatten(default_config()))
    assert {key for key, x in defaults.items() if type(x) in (int, float)} == RANGES.keys()
    assert out_of_range(default_config()) == []


@settings(max_examples=40)
@given(st.sampled_from(sorted(RANGES)), st.floats() | st.integers(-(2**70), 2**70).map(float))
def test_ranges_hold_their_ends(path, value):
    """Against plain comparisons written out from the notation of intervals, and the largest float32."""
    (low, high), first, last = map(float, RANGES[path][1:-1].split(",")), RANGES[path][0], RANGES[path][-1]
    inside = low < value < high or (first == "[" and value == low) or (last == "]" and value == high)
    if path != "data.device_memory":
        inside = inside and value <= float(np.finfo(np.float32).max)
    assert (out_of_range(changed(**{path: value})) == []) == inside


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_range_takes_what_is_no_number(value):
    lines = out_of_range(changed(**dict.fromkeys(RANGES, value)))
    assert [line.split()[0].removeprefix("config.") for line in lines] == list(RANGES)


@pytest.mark.parametrize("ratios", [(0.7, 0.15, 0.15), (70, 15, 15), (1, 0, 0), (0.33, 0.33, 0.33), (0, 0.5, 0.5)])
def test_shares_of_one_or_of_a_hundred(ratios):
    assert out_of_range(changed(data__split_ratios=ratios)) == []


@pytest.mark.parametrize(
    "ratios", [(0.7, 0.2, 0.2), (7, 2, 1), (0, 0, 0), (math.nan, 0.5, 0.5), (-0.5, 1, 0.5), ("x", 1, 0), (70, 20, 20)]
)
def test_what_is_no_share(ratios):
    (line,) = out_of_range(changed(data__split_ratios=ratios))
    assert line.startswith("config.data.split_ratios ")


def test_of_two_ends_each_is_told():
    assert out_of_range(changed(accumulate=2**31)) == [
        "config.accumulate is 2147483648; it must be at least 1 and at most 2147483647."
    ]
    assert out_of_range(changed(data__device_memory=2**40, accumulate=2**31 - 1)) == []


@settings(max_examples=40)
@given(st.sampled_from([path for path, _ in flatten(default_config()) if len(path.rpartition(".")[2]) > 5]), st.data())
def test_a_letter_left_out_of_a_key_is_found(path, data):
    section, _, key = path.rpartition(".")
    where = data.draw(st.integers(1, len(key) - 1))
    wrong = f"{section}.{key[:where]}{key[where + 1 :]}".strip(".")
    if wrong in dict(flatten(default_config())):
        return
    message = unknown_key(wrong)
    assert f"config.{wrong} does not exist; did you mean 'config.{path}'?" == message


def test_words_of_other_tools_name_keys_that_exist():
    keys = dict(flatten(default_config()))
    assert [key for key in ELSEWHERE.values() if key not in keys and not key.startswith("model.fields.")] == []
    assert [word for word in ELSEWHERE if word in keys] == []
    assert unknown_key("optim.lr").endswith("did you mean 'config.schedule.peak'?")
