import json

import numpy as np
import pytest

from jaxcls.errors import UserError
from jaxcls.nas import costs, latency
from jaxcls.nas.space import Space, block_count, parse_stage

SPACE = Space((parse_stage("mbconv((8, 12), times=3, kernels=(3, 5), expansions=(1, 2))"),), first=8)


def timed(space, seen=None):
    """Tables in which a block takes a millisecond for each thousand multiply-adds; `seen`: what was measured."""

    def measure(*block):
        if seen is not None:
            seen.append(block)
        return block_count(*block)[0] / 1000

    return latency.measured(space, measure, lambda width: width / 10)


def test_each_kind_of_block_is_timed_once_and_nets_are_their_sums():
    """Of equal places all but the first block share their times; the second and third place of a stage are alike."""
    seen = []
    tables = timed(SPACE, seen)
    assert len(seen) == len(set(seen)) == 4 * 2 + 2 * 4 - 4  # (8 -> 8) stands in both places
    choice = (1, 2, 3, 4)
    macs = SPACE.macs(choice) - costs.counted(SPACE, "macs").ends[1]
    assert costs.total(SPACE, tables, choice) == pytest.approx(macs / 1000 + 1.2)


def test_a_table_is_read_as_it_was_written(tmp_path):
    tables = timed(SPACE)
    latency.write(tmp_path / "t.json", SPACE, tables, {"cpu": "a machine"})
    read = latency.read(tmp_path / "t.json", SPACE)
    for a, b in zip((*tables.blocks, tables.ends), (*read.blocks, read.ends), strict=True):
        np.testing.assert_array_equal(a, b)
    assert json.loads((tmp_path / "t.json").read_text())["about"] == {"cpu": "a machine"}


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "can't be read: No such file"),
        ("{", "holds no table"),
        ("{}", "holds no table"),
        ("other", "another space"),
    ],
)
def test_what_is_no_table_of_this_space_is_told_in_one_line(content, message, tmp_path):
    path = tmp_path / "t.json"
    if content == "other":
        other = Space(SPACE.stages, first=12)
        latency.write(path, other, timed(other), {})
    elif content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message) as raised:
        latency.read(path, SPACE)
    assert "\n" not in str(raised.value) and "jaxcls nas" in str(raised.value)
