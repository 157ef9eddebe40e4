import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import summary
from jaxcls.nas import costs
from jaxcls.nas.space import Space, parse_stage

STAGES = ("mbconv(8, kernels=(3, 7), expansions=(1, 6))", "mbconv((8, 12), times=2, stride=2, expansions=(1, 3))",
          "mbconv((12, 16), kernels=3, expansions=(1, 2))")  # fmt: skip
SMALL = Space(tuple(map(parse_stage, STAGES)), first=8, last=20, picture=(13, 9, 3), classes=7)
FRAMES = [{}, {"stem": "imagenet"}, {"last": 0}, {"classes": 3, "picture": (8, 12, 1)}]


def choices(space):
    return st.tuples(*(st.integers(0, n - 1) for n in space.sizes))


def test_the_decisions_of_a_space():
    """The first block of the first stage keeps its input's width; those of a stage with two widths may not."""
    assert [(d.name, len(d.options)) for d in SMALL.decisions] == [
        ("block1", 5), ("width2", 2), ("block2", 6), ("block3", 7), ("width3", 2), ("block4", 2)
    ]  # fmt: skip
    assert SMALL.sizes == (5, 2, 6, 7, 2, 2) and SMALL.size == 1680
    assert SMALL.blocks((4, 1, 0, 6, 0, 1)) == ("skip", (3, 1, 12, 2), "skip", (3, 2, 12, 1))
    assert SMALL.describe((3, 1, 0, 6, 0, 1)) == "7x7 e6 w8, 3x3 e1 w12 /2, skip, 3x3 e2 w12"


@pytest.mark.parametrize("frame", FRAMES)
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_counts_are_those_of_the_model(frame, data):
    space = Space(**{**{f: getattr(SMALL, f) for f in ("stages", "first", "last", "picture", "classes")}, **frame})
    choice = data.draw(choices(space))
    net = models.create("mbconv_net", num_classes=space.classes, **space.fields(choice))
    counted = summary.summarize(net, space.picture).total
    assert (space.macs(choice), space.params(choice)) == (counted.macs, counted.parameters)


@pytest.mark.parametrize("cost", costs.COUNTED)
def test_tables_add_up_to_the_counts_and_know_their_range(cost):
    tables = costs.counted(SMALL, cost)
    every = [(c, getattr(SMALL, cost)(c)) for c in itertools.product(*map(range, SMALL.sizes))]
    assert [costs.total(SMALL, tables, c) for c, _ in every[::37]] == [n for _, n in every[::37]]
    assert costs.span(SMALL, tables) == (min(n for _, n in every), max(n for _, n in every))
    choice, want = every[777]
    np.testing.assert_allclose(costs.total(SMALL, tables, jnp.array(choice)), want, rtol=1e-6)


@given(choices(SMALL))
def test_a_choice_is_found_again_from_its_blocks(choice):
    assert SMALL.choice([list(b) if b != "skip" else b for b in SMALL.blocks(choice)]) == choice


@pytest.mark.parametrize("choice", [(0,), (5, 0, 0, 0, 0, 0), (-1, 0, 0, 0, 0, 0), (0,) * 7])
def test_what_is_no_choice_is_refused(choice):
    with pytest.raises(UserError, match=r"is no choice of this space, which has \[5, 2, 6, 7, 2, 2\] options"):
        SMALL.blocks(choice)


def test_what_is_no_net_of_the_space_is_refused():
    blocks = list(SMALL.blocks((0,) * 6))
    with pytest.raises(UserError, match="is none of this space's"):
        SMALL.choice([(3, 5, 8, 1), *blocks[1:]])
    with pytest.raises(UserError, match="is no net of this space"):
        SMALL.choice([(*blocks[0][:2], 9, 1), *blocks[1:]])


@pytest.mark.parametrize(
    "text, message",
    [
        ("mbconv(24, kernels=())", "the space is empty: .* has no kernels"),
        ("mbconv(24, kernels=(3, 4))", "kernels must be odd"),
        ("mbconv(24, kernels=(3, 3))", "kernels must be different"),
        ("mbconv(24, expansions=(0, 1))", "expansions must be different whole numbers from 1 on"),
        ("mbconv(24, times=0)", "times must be"),
        ("mbconv(24, stride=3)", "stride must be 1 or 2"),
        ("mbconv(24, depth=3)", "the arguments of 'mbconv' don't fit"),
        ("mbconw(24)", "no stage 'mbconw'; did you mean 'mbconv'"),
        ("3", "can't be read; write it like"),
    ],
)
def test_what_is_no_stage_is_told_in_one_line(text, message):
    with pytest.raises(UserError, match=message) as raised:
        parse_stage(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("stages", [(), ("mbconv(24, kernels=3, expansions=6)",)])
def test_an_empty_space_is_refused(stages):
    with pytest.raises(UserError, match="the space is empty"):
        Space(tuple(map(parse_stage, stages)))


def test_a_target_that_no_net_meets_is_told_the_range():
    tables = costs.counted(SMALL, "macs")
    least, most = costs.span(SMALL, tables)
    costs.check_target(SMALL, tables, most, what="config.nas.target")
    with pytest.raises(UserError, match=f"no net of the space meets it: they have {least:,.6g} to {most:,.6g}"):
        costs.check_target(SMALL, tables, most + 1, what="config.nas.target")
    costs.check_target(SMALL, tables, most + 1, what="config.nas.target", at_most=True)
    with pytest.raises(UserError, match="no net of the space meets it"):
        costs.check_target(SMALL, tables, least - 1, what="config.nas.target", at_most=True)
