"""Ladder files: what they may contain, and what a rung changes."""

import re
from pathlib import Path

import pytest

from jaxcls.ablate import ladder
from jaxcls.cli import command
from jaxcls.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
LADDERS = sorted((ROOT / "configs" / "ladders").glob("*.py"))
TWO = """
from jaxcls.defaults import default_config

def get_ladder(arg=""):
    a, b = default_config(), default_config()
    {}
    return {}
"""


def write(tmp_path, body="b.batch_size = 64", returned="[('a', a), ('+ b', b)]"):
    path = tmp_path / "two.py"
    path.write_text(TWO.format(body, returned))
    return path


@pytest.mark.parametrize("path", LADDERS, ids=lambda path: path.stem)
def test_docstring_of_a_ladder_gives_the_command(path):
    assert f"jaxcls ablate {path.stem}" in path.read_text().split('"""')[1]


@pytest.mark.parametrize("arg", ["", "tiny"])
@pytest.mark.parametrize("path", LADDERS, ids=lambda path: path.stem)
def test_every_rung_of_a_ladder_changes_something_and_folders_differ(path, arg):
    rungs = ladder.load(f"{path}:{arg}" if arg else str(path))
    assert rungs[0].against is None
    assert all(ladder.changes(rung, rungs) for rung in rungs if rung.against)
    assert sum(rung.against is None for rung in rungs) <= 2  # the first, and a teacher
    folders = [rung.folder for rung in rungs]
    assert len(set(folders)) == len(folders)
    assert all(re.fullmatch(r"[\w.-]+", folder) for folder in folders)


def test_tiny_rungs_of_a_ladder_change_what_the_real_ones_change():
    for path in LADDERS:
        real, tiny = ladder.load(f"{path}"), ladder.load(f"{path}:tiny")
        for one, other in zip(real, tiny, strict=False):  # the tiny one may have a rung more: distillation
            assert one.name == other.name
            assert ladder.changes(one, real).keys() == ladder.changes(other, tiny).keys()


def test_a_rung_apart_is_compared_with_none_and_none_with_it(tmp_path):
    returned = "[('a', a), ('t', a, ''), ('b', b), ('c', a), ('d', b, 'a')]"
    rungs = ladder.load(write(tmp_path, returned=returned))
    assert [rung.against for rung in rungs] == [None, None, "a", "b", "a"]


def test_changes_are_told_key_by_key(tmp_path):
    body = "b.schedule.peak = 0.2; b.model.fields = {'width': 8}; b.data.augment = ('flip',)"
    rungs = ladder.load(write(tmp_path, body))
    assert ladder.changes(rungs[0], rungs) == {}
    assert ladder.changes(rungs[1], rungs) == {
        "data.augment": ((), ("flip",)),
        "model.fields.width": (None, 8),
        "schedule.peak": (0.1, 0.2),
    }


def test_a_setting_goes_to_all_rungs(tmp_path):
    rungs = ladder.load(write(tmp_path), [("duration", "3 epochs")])
    assert [rung.config.duration for rung in rungs] == ["3 epochs"] * 2
    with pytest.raises(UserError, match="'[+] b' has the same config as 'a'"):
        ladder.load(write(tmp_path), [("batch_size", "32")])


def test_a_teacher_of_the_ladder_is_the_run_with_the_same_seed(tmp_path):
    body = "b.distill.teacher = 'rung:a'"
    rungs = ladder.load(write(tmp_path, body))
    config, folder = ladder.of_seed(rungs[1], rungs, 2, tmp_path / "w")
    assert (config.seed, folder) == (2, tmp_path / "w" / "b" / "seed-2")
    assert config.distill.teacher == str(tmp_path / "w" / "a" / "seed-2")
    assert rungs[1].config.distill.teacher == "rung:a"  # of_seed works on a copy


@pytest.mark.parametrize(
    "body, returned, message",
    [
        ("pass", "[('a', a), ('b', b)]", "'b' has the same config as 'a'"),
        ("pass", "None", "get_ladder must return a list"),
        ("pass", "[]", "get_ladder must return a list"),
        ("pass", "[('a', a, a)]", "get_ladder must return a list"),
        ("pass", "[('a', 1)]", "get_ladder must return a list"),
        ("b.seed = 1", "[('+ a', a), ('a', b)]", "two rungs are called '[+] a' and 'a'"),
        ("b.seed = 1", "[('a', a), ('+', b)]", "its name must have a letter"),
        ("b.seed = 1", "[('a', a), ('b', b, 'c')]", "'b' is compared with 'c', which is no rung before it"),
        ("b.distill.teacher = 'rung:b'", "[('a', a), ('b', b)]", "has the teacher 'b', which is no rung before it"),
        ("b.optim.momentun = 0.5", "[('a', a), ('b', b)]", "line 6: .*did you mean 'momentum'"),
        ("b.optim.momentum = 2.0", "[('a', a), ('b', b)]", "rung 'b': config.optim.momentum is 2.0"),
    ],
)
def test_an_impossible_ladder_is_one_line(tmp_path, body, returned, message):
    with pytest.raises(UserError, match=message) as raised:
        ladder.load(write(tmp_path, body, returned))
    assert "\n" not in str(raised.value)
    assert "two.py" in str(raised.value)


def test_a_file_that_is_no_ladder_is_told(tmp_path):
    with pytest.raises(UserError, match="has no function get_ladder"):
        ladder.load(ROOT / "configs" / "lenet5_digits.py")
    with pytest.raises(UserError, match="did you mean .*fashion_small.py"):
        ladder.load(ROOT / "configs" / "ladders" / "fashion_smal.py")


def test_list_shows_the_rungs_and_runs_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command.main(["ablate", str(write(tmp_path)), "--list"]) == 0
    assert capsys.readouterr().out.splitlines() == ["a", "+ b  (against a)", "    batch_size: 128 -> 64"]
    assert [path.name for path in tmp_path.iterdir()] == ["two.py"]


@pytest.mark.parametrize("arguments", [["missing.py"], ["two.py:big:", "--list"], ["two.py", "--config.batch_size"]])
def test_a_mistake_on_the_command_line_is_one_line_and_status_2(tmp_path, capsys, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "parse_tiny(arg)").write_text(
        TWO.replace("default_config\n", "default_config, parse_tiny\n").format("parse_tiny(arg)", "[('a', a)]")
    )
    assert command.main(["ablate", *arguments]) == 2
    assert re.fullmatch(r"error: [^\n]+\n", capsys.readouterr().err)
