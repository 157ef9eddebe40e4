"""Spaces: what their text may be, what they draw, and what is refused before anything runs."""

import itertools
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.settings import config_file
from jaxcls.tune import space
from jaxcls.tune.dimension import Dimension
from jaxcls.tune.space import Space, parse

ROOT = Path(__file__).resolve().parents[2]
TEXT = (
    "schedule.peak=log(1e-3,1); batch_size=pow2(32,512); optim.weight_decay=log(1e-5,1e-2); optim.name=choice(sgd,lion)"
    "; optim.momentum=linear(0.5,0.99) if optim.name=sgd; model.fields.depth=int(1,3)"
)
KEYS = ["batch_size", "seed", "schedule.peak", "optim.name", "optim.momentum", "model.fields.width", "loss.gamma"]


def test_a_text_is_read():
    found = parse(TEXT)
    assert found.dimensions[1] == Dimension("batch_size", "pow2", (32, 512))
    assert found.dimensions[3] == Dimension("optim.name", "choice", ("sgd", "lion"))
    assert found.dimensions[4] == Dimension("optim.momentum", "linear", (0.5, 0.99), ("optim.name", "sgd"))
    assert parse(TEXT.replace(";", "\n\n").replace(",", " , ").replace("=", " = ")) == found
    space.check(found, default_config())


numbers = st.floats(-1e6, 1e6, allow_nan=False) | st.integers(-(10**6), 10**6)
words = st.text("ab1.-; ,()'\"\\=µ[", max_size=8) | st.sampled_from(
    ["sgd", "true", "1e5", "5 epochs", "nan", "inf", ""]
)


@st.composite
def spaces(draw):
    dimensions, choices = [], []
    for key in draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=5, unique=True)):
        kind = draw(st.sampled_from(["log", "linear", "int", "pow2", "choice"]))
        if kind == "choice":
            options = st.lists(words | numbers | st.booleans(), min_size=1, max_size=4, unique=True)
            args = tuple(draw(options))
        elif kind == "pow2":
            args = tuple(sorted(2**k for k in draw(st.tuples(st.integers(0, 20), st.integers(0, 20)))))
        else:
            of = st.integers(-1000, 1000) if kind == "int" else numbers if kind == "linear" else st.floats(1e-9, 1e9)
            args = tuple(sorted(draw(st.tuples(of, of))))
            args += (draw(st.integers(1, 9)),) if kind == "int" and draw(st.booleans()) else ()
        parent = draw(st.sampled_from([None, *choices]))
        when = parent and (parent.key, draw(st.sampled_from(parent.args)))
        dimensions.append(Dimension(key, kind, args, when))
        choices += [dimensions[-1]] if kind == "choice" else []
    return Space(tuple(dimensions), draw(st.sampled_from([0, 256])))


@settings(max_examples=60)
@given(spaces())
def test_a_space_is_the_same_after_text_and_json(found):
    assert parse(str(found)) == found
    assert Space.from_json(found.to_json()) == found
    for dimension in found.dimensions:
        for share in (0.0, 0.3, 1 - 2**-53):
            value = dimension.at(share)
            assert dimension.value(dimension.stored(value)) == value
            if dimension.kind == "choice":
                assert any(value is arg for arg in dimension.args)
            else:
                assert dimension.args[0] <= value <= dimension.args[1]


@settings(max_examples=60)
@given(st.text("ab=();,. if1-'\"\n", max_size=30) | st.text(max_size=12))
def test_any_text_is_a_space_or_one_line(text):
    try:
        assert parse(str(parse(text))) == parse(text)
    except UserError as error:
        assert "\n" not in str(error)


def test_a_grid_is_the_product_of_closed_forms():
    found = space.grid(parse("schedule.peak=log(1e-3,1); optim.momentum=linear(0.5,0.9); batch_size=pow2(32,128)"), 4)
    peaks, momenta = [1e-3, 1e-2, 1e-1, 1], [0.5, 0.5 + 0.4 / 3, 0.5 + 0.8 / 3, 0.9]
    expected = list(itertools.product(peaks, momenta, [32, 64, 128]))
    assert [list(point.values()) for point in found] == [pytest.approx(list(values)) for values in expected]
    assert (found[0]["schedule.peak"], found[-1]["schedule.peak"]) == (1e-3, 1)  # the ends to the bit
    (middle,) = space.grid(parse("schedule.peak=log(1e-3,1)"), 1)
    assert middle["schedule.peak"] == pytest.approx(10**-1.5)
    assert [p["seed"] for p in space.grid(parse("seed=int(1,10,4)"), 0)] == [1, 5, 9]


def test_a_grid_has_a_conditional_dimension_only_where_it_counts():
    text = "optim.name=choice(sgd,adam,lion); optim.momentum=linear(0,0.9) if optim.name=sgd; seed=int(1,2)"
    found = space.grid(parse(text), 3)
    assert len(found) == (3 + 1 + 1) * 2
    assert all(("optim.momentum" in point) == (point["optim.name"] == "sgd") for point in found)
    assert len({tuple(point.items()) for point in found}) == len(found)


def test_a_condition_on_a_dimension_that_does_not_count_is_not_met():
    text = "a=choice(1,2); b=choice(x,y) if a=1; c=choice(p,q) if b=x"
    assert [set(point) for point in space.grid(parse(text), 0)].count({"a", "b", "c"}) == 2
    assert len(space.grid(parse(text), 0)) == 2 + 1 + 1


def test_a_trial_is_applied_to_a_copy():
    config = default_config()
    text = "rate_per_batch=256; batch_size=pow2(32,64); data.augment=choice('flip, crop(28, pad=2)', ())"
    found = parse(text + "; optim.nesterov=choice(true,false); schedule.warmup=choice(5%, 2 epochs)")
    params = {
        "batch_size": 64,
        "data.augment": "flip, crop(28, pad=2)",
        "optim.nesterov": True,
        "schedule.warmup": "5%",
    }
    changed = space.apply(found, {**params, "model.fields.depth": 3}, config)
    assert (changed.batch_size, changed.data.augment) == (64, ("flip", "crop(28, pad=2)"))
    assert (changed.optim.nesterov, changed.schedule.warmup, changed.schedule.per_batch) == (True, "5%", 256)
    assert changed.model.fields.depth == 3
    assert config == default_config()


@settings(max_examples=20)
@given(st.floats(1e-12, 1e12))
def test_a_rate_comes_to_the_config_to_the_bit(value):
    assert (
        space.apply(parse("schedule.peak=log(1e-12,1e12)"), {"schedule.peak": value}, default_config()).schedule.peak
        == value
    )


BAD = {
    "": "the space is empty",
    " ; \n": "the space is empty",
    "schedule.peak": "can't be read",
    "schedule.peak=log(1e-3,1": "can't be read",
    "schedule.peak=log(1e-3,1) optim.name=sgd": "can't be read",
    "schedule.peak=lgo(1e-3,1)": "did you mean 'log(1e-3, 1)'",
    "schedule.peak=zipf(1e-3,1)": "there are log(1e-3, 1)",
    "schedule.peak=log()": "lowest and the highest",
    "schedule.peak=log(1)": "lowest and the highest",
    "schedule.peak=log(1,2,3)": "lowest and the highest",
    "schedule.peak=log(1,,2)": "missing between two commas",
    "schedule.peak=log(1,1e-3)": "write log(0.001, 1)",
    "schedule.peak=log(0,1)": "no logarithm of 0",
    "schedule.peak=log(-1,1)": "no logarithm of -1",
    "schedule.peak=linear(0,nan)": "nan is not a finite number",
    "schedule.peak=linear(0,inf)": "inf is not a finite number",
    "schedule.peak=linear(0,1e999)": "inf is not a finite number",
    "schedule.peak=linear(a,b)": "a is not a number",
    "batch_size=int(1.5,3)": "1.5 is not a whole number",
    "batch_size=int(1,8,0)": "a step is at least 1",
    "batch_size=pow2(30,64)": "30 is no power of two",
    "batch_size=pow2(0,64)": "0 is no power of two",
    "batch_size=int(1,1e400)": "inf is not a finite number",
    f"batch_size=int(1,{10**30})": "larger than 2^53",
    "optim.name=choice()": "nothing to choose from",
    "optim.name=choice(sgd,lion,sgd)": "sgd stands there twice",
    "optim.name=choice('sgd)": "can't be read",
    "optim.momentum=choice(0.9,1e999)": "inf is not a finite number",
    "optim.momentum=choice(0.9,nan)": "nan is not a finite number",
    "seed=int(1,2); seed=int(1,3)": "seed twice",
    "optim.momentum=linear(0,1) if optim.name=sgd": "optim.name is not in the space",
    "optim.momentum=linear(0,1) if optim.name=sgd; optim.name=choice(sgd,lion)": "put it first",
    "optim.name=choice(sgd,lion); optim.momentum=linear(0,1) if optim.name=sdg": "did you mean 'sgd'",
    "seed=int(1,2); optim.momentum=linear(0,1) if seed=1": "seed is no choice",
    "seed=int(1,2) if": "can't be read",
    "optim.name=choice(a,b); seed=int(1,2) if optim.name": "a condition is written like",
    "rate_per_batch=0; seed=int(1,2)": "at least 1",
    "rate_per_batch=log(1,2); seed=int(1,2)": "at least 1",
    "rate_per_batch=256; schedule.per_batch=int(1,2)": "leave one of them off",
}
REFUSED_BY_A_CONFIG = {
    "schedule.peek=log(1e-3,1)": "did you mean 'config.schedule.peak'",
    "lr=log(1e-3,1)": "did you mean 'config.schedule.peak'",
    "optim=choice(sgd)": "is a section",
    "optim.momentum=linear(0.5,1)": "below 1",
    "loss.label_smoothing=linear(-0.1,0.1)": "at least 0",
    "batch_size=int(0,64)": "at least 1",
    "batch_size=log(32,512)": "take int or pow2",
    "batch_size=choice(32,abc)": "not a whole number",
    "optim.nesterov=int(0,1)": "choice(true, false)",
    "schedule.warmup=linear(0,1)": "is no number",
    "data.augment=linear(0,1)": "is no number",
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_space_is_refused_in_one_line(text):
    with pytest.raises(UserError, match=re.escape(BAD[text])) as caught:
        space.parse(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("text", REFUSED_BY_A_CONFIG)
def test_what_a_config_cannot_take_is_refused_in_one_line(text):
    config = default_config()
    with pytest.raises(UserError, match=re.escape(REFUSED_BY_A_CONFIG[text])) as caught:
        space.check(parse(text), config)
    assert "\n" not in str(caught.value)
    assert config == default_config()


def test_every_mistake_of_a_space_is_told_at_once():
    with pytest.raises(UserError) as caught:
        space.check(parse("schedule.peek=log(1e-3,1); batch_size=log(1,8); seed=int(1,2)"), default_config())
    assert len(str(caught.value).splitlines()) == 2


def test_a_value_that_the_config_had_wrong_before_is_not_blamed_on_the_space():
    config = default_config()
    config.optim.momentum = 1.5
    space.check(parse("schedule.peak=log(1e-3,1)"), config)


@pytest.mark.parametrize("points", [0, -1])
def test_a_grid_needs_points_of_what_is_continuous(points):
    with pytest.raises(UserError, match="--points"):
        space.grid(parse("schedule.peak=log(1e-3,1)"), points)


def test_a_grid_that_is_too_large_is_refused_before_it_is_made():
    for text in ("seed=int(0,4000000000)", "a=linear(0,1); b=linear(0,1); c=linear(0,1); d=linear(0,1)"):
        with pytest.raises(UserError, match="more than 100,000 points"):
            space.grid(parse(text), 50)


FILES = {
    "x = 1": "has no function get_space",
    "def get_space(arg=''):\n    pass": "must return texts",
    "def get_space(arg=''):\n    return [('a', 1)]": "must return texts",
    "def get_space(arg=''):\n    return []": "the space is empty",
    "def get_space(arg=''):\n    return ['seed=int(3,1)']": "write int(1, 3)",
    "def get_space(arg=''):\n    return 1 / 0": "line 2: return 1 / 0: ZeroDivisionError",
    "def get_space(arg=''": "line 1",
    "": "has no function get_space",
}


@pytest.mark.parametrize("text", FILES)
def test_a_file_without_a_space_is_refused_in_one_line(text, tmp_path):
    (tmp_path / "s.py").write_text(text)
    with pytest.raises(UserError, match=re.escape(FILES[text])) as caught:
        space.load(str(tmp_path / "s.py"))
    assert "\n" not in str(caught.value) and "s.py" in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    for name in ("", " ", str(tmp_path / "none.py"), "lenet5_digit", str(tmp_path), "search/lenet5_digit"):
        with pytest.raises(UserError) as caught:
            space.load(name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["search/lenet5_digits", "lenet5_digits", "configs/search/lenet5_digits.py", "finetune:tiny"]
)
def test_spaces_that_come_with_jaxcls_have_names(name):
    assert space.load(name).dimensions[0].key == "schedule.peak"


@pytest.mark.parametrize("arg", ["", ":tiny"])
@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "configs" / "search").glob("*.py")))
def test_a_space_that_comes_with_jaxcls_fits_its_config(name, arg):
    found, config = space.load(f"{name}{arg}"), config_file.load(str(ROOT / "configs" / f"{name}.py"))
    space.check(found, config)
    assert all(space.apply(found, point, config) for point in space.grid(found, 2))


def test_the_argument_of_the_command_goes_before_the_space_s_own_reference_batch():
    assert space.parse("rate_per_batch=256; seed=int(1,2)").rate_per_batch == 256
    assert space.parse("rate_per_batch=256; seed=int(1,2)", 64).rate_per_batch == 64
    assert math.isclose(space.parse("schedule.peak=log(1,4)").dimensions[0].at(0.5), 2)
