"""scripts/bench/convolve.py in its tiny form."""

from scripts import load

bench = load("bench/convolve.py")


def test_convolve(capsys):
    assert bench.main(["--rounds", "1", "--case", "1x1, 64 to 256"]) == 0
    *_, head, _, row = capsys.readouterr().out.splitlines()
    assert row.startswith("| 56, 1x1, 64 to 256 |") and row.count("|") == head.count("|")
    assert all(float(cell) > 0 for cell in row.split("|")[2:-1])
