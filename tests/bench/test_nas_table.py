"""The table of nets: searched as stored, made without what is there, each net as its config builds it."""

import itertools
import json

from scripts import load, run_json

bench = load("bench/nas_table.py")
space = bench._nas_space.space()
TABLE = bench.OUT


def stored():
    return [json.loads(line) for line in TABLE.read_text().splitlines()]


def fake(folder):
    """A table in which each decision helps by itself."""
    path = folder / "table.jsonl"
    rows = [{"choice": c, "validation": [sum(c) / 20] * 2, "test": [sum(c) / 20] * 2} for c in EVERY]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


EVERY = list(itertools.product(range(5), repeat=3))


def test_the_space_has_125_nets_of_three_blocks_that_may_be_skipped():
    assert space.sizes == (5, 5, 5)
    assert space.describe((4, 4, 4)) == "skip, 3x3 e1 w8 /2, skip, 3x3 e1 w16 /2, skip"
    assert {block for i in range(4) for block in [space.blocks((i, i, i))[0]]} == {
        (kernel, expansion, 4, 1) for kernel in (3, 7) for expansion in (1, 6)
    }


def test_searches_of_a_table(tmp_path, capsys):
    result = run_json(bench, capsys, f"simulate --table {fake(tmp_path)} --repeats 8 --budgets 20 125")
    regrets = {(row["budget"], row["sampler"]): row["regret"] for row in result}
    assert regrets[125, "exhaustive"] == regrets[125, "random"] == regrets[125, "evolution"] == 0
    assert regrets[20, "random"] > regrets[125, "random"]


def test_rows_that_are_there_are_not_trained_again(tmp_path, monkeypatch):
    path, trained = fake(tmp_path), []
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:50] + lines[53:]))

    def one(fields, file, epochs):
        trained.append(fields["blocks"])
        return {"validation": [0.5, 0.5], "test": [0.5, 0.5]}

    monkeypatch.setattr(bench, "one", one)
    bench.table(path, tmp_path / "pictures.npz", 1)
    assert sorted(map(str, trained)) == sorted(str(space.blocks(EVERY[n])) for n in (50, 51, 52))
    assert len(path.read_text().splitlines()) == 125
    bench.table(path, tmp_path / "pictures.npz", 1)
    assert len(trained) == 3


def test_a_half_table_is_refused(tmp_path, capsys):
    path = fake(tmp_path)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert bench.main(["simulate", "--table", str(path)]) == 2
    assert "lacks 1 of 125" in capsys.readouterr().err


def test_the_stored_rows_are_nets_of_the_space():
    rows = stored()
    assert len({tuple(row["choice"]) for row in rows}) == len(rows)
    for row in rows:
        assert (space.macs(row["choice"]), space.params(row["choice"])) == (row["macs"], row["parameters"])
        assert row["blocks"] == space.describe(row["choice"]) and len(row["validation"]) == len(row["test"]) == 2
        assert all(0.5 < accuracy < 0.9 for accuracy in row["validation"] + row["test"])


def test_searches_of_the_stored_table(capsys):
    """What holds whoever wins: to see more leaves less regret, and all of it what one seed's noise costs."""
    result = run_json(bench, capsys, f"simulate --table {TABLE} --repeats 20 --budgets 20 125 --partial")
    rows = {(row["budget"], row["sampler"]): row for row in result}
    all_seen = rows[125, "exhaustive"]
    assert all_seen["evaluations"] == len(stored())
    assert rows[125, "random"]["regret"] == rows[125, "evolution"]["regret"] == all_seen["regret"]
    assert 0 <= all_seen["regret"] < rows[20, "random"]["regret"]
