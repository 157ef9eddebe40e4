"""A supernet's ranking against a table, with accuracies that were kept."""

import itertools
import json

import pytest
from scipy import stats

from scripts import load, run_json

bench = load("bench/nas_rank.py")
EVERY = list(itertools.product(range(5), repeat=3))


@pytest.fixture
def work(tmp_path):
    """A table in which the sum of a choice counts, and a supernet that does not see the last decision."""
    rows = [
        {
            "choice": c,
            "blocks": str(c),
            "validation": [0.5 + sum(c) / 50] * 2,
            "test": [0.4 + sum(c) / 50] * 2,
            "macs": -i,
        }
        for i, c in enumerate(EVERY)
    ]
    (tmp_path / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept = {"steps": 7, "likely": [0.2] * 3, "cpu_s": 1, "accuracies": [[*c, (c[0] + c[1]) / 10] for c in EVERY]}
    (tmp_path / "supernet-2-0.json").write_text(json.dumps(kept))
    return tmp_path


def test_the_ranking_is_scipy_s_and_a_row_is_kept(work, capsys):
    arguments = f"--data-dir x --work {work} --table {work}/table.jsonl --epochs 2 --out {work}/out.jsonl"
    result = run_json(bench, capsys, arguments)
    expected = stats.kendalltau([c[0] + c[1] for c in EVERY], [sum(c) for c in EVERY]).statistic
    assert result["supernet"]["tau"] == pytest.approx(expected, abs=1e-3) and result["steps"] == 7
    assert result["other_seed"] == {"tau": 1.0, "recall": 1.0} and result["verdict"] == "better than multiply-adds"
    assert result["multiply_adds"]["tau"] < 0
    assert result["choice"]["rank"] == 1 + sum(sum(c) > 8 for c in EVERY)  # (4, 4, 0) is the first of its best ones
    (row,) = map(json.loads, (work / "out.jsonl").read_text().splitlines())
    assert row == result


def test_a_table_that_has_only_begun_is_refused(work, capsys):
    table = work / "table.jsonl"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:9]))
    assert bench.main(["--data-dir", "x", "--work", str(work), "--table", str(table)]) == 2
    assert "has 9 nets, and a ranking needs at least 20" in capsys.readouterr().err
