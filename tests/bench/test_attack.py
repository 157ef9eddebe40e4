"""scripts/bench/attack.py: what is made, how it is judged, a few files in its worker; slow: the commands, too."""

import json
import sys

import pytest

from scripts import load

bench = load("bench/attack.py")
load("bench/_attack_made.py")
attack = sys.modules["_attack_pictures"]


@pytest.fixture(scope="module")
def made():
    return load("bench/_attack_made.py")


def test_there_are_more_than_the_455_of_the_first_attack(made, monkeypatch):
    found = made.contents()
    assert list(found) == list(made.KINDS)
    names = [name for files in found.values() for name in files]
    assert len(names) == len(set(names)) > 800  # one folder can hold them
    assert max(len(name.encode(errors="surrogateescape")) for name in names) > 250
    assert all(len(files) > 5 for files in found.values())


def test_files_of_each_expectation_are_judged(made, tmp_path):
    """Whole, cut and no picture, a pipe: each as it should be; then one that is not."""
    wanted = [
        ("names", "new\nline.png"),
        ("no pictures", "html.jpg"),
        ("no files", "pipe.jpg"),
        ("odd, but whole", "odd-arithmetic.jpg"),
    ]
    contents = made.contents()
    rows = []
    for kind, name in wanted:
        content = contents[kind][name]
        content(tmp_path / name) if callable(content) else (tmp_path / name).write_bytes(content)
        rows.append([kind, name, made.KINDS[kind]])
    alone = attack.each(tmp_path, [name for _, name, _ in rows])
    faults = []
    *_, last = attack.table(rows, alone, faults)
    assert last.startswith("| all | 4 | 2 | 2 | 0 | 0 | 0 |") and faults == []
    rows[0][2] = "refused"
    alone["html.jpg"]["mebibytes"] = 501.0
    alone["pipe.jpg"] = {"status": 14}
    *_, last = attack.table(rows, alone, faults)
    assert last.startswith("| all | 4 | 2 | 1 | 1 | 0 | 1 |") and len(faults) == 3


def test_answers_are_compared_with_those_alone(tmp_path):
    (tmp_path / "attack").mkdir()
    rows = [
        {"path": str(tmp_path / "attack/a/1.png"), "class": "x"},
        {"path": str(tmp_path / "attack/a/2.png"), "error": "y"},
    ]
    (tmp_path / "attack.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    there = {"a/1.png", "a/2.png"}
    assert attack._of_rows(tmp_path, there, {"a/2.png"}) == ""
    assert "an error" in attack._of_rows(tmp_path, there, there)
    assert "a row too much" in attack._of_rows(tmp_path, {"a/1.png"}, {"a/2.png"})
    (tmp_path / "attack.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:1] * 2 + rows[1:]))
    assert attack._of_rows(tmp_path, there, {"a/2.png"}) == "a row twice"


def test_a_refusal_is_a_line_for_each_split():
    assert attack._is_told("decoded: 304 of 1,716 pictures, 25 s left\nerror: 3 pictures in train\nerror: 1 in test\n")
    for told in ("", "Traceback\n", "error: a\nb\n", "error: x\n" * 4, "decoded: 3 of 4\n"):
        assert not attack._is_told(told)


def test_a_command_has_its_status_and_memory():
    ended = sys.modules["_attack_run"].command(["--version"])
    assert ended.status == 0 and ended.out.strip() and ended.errors == "" and ended.mebibytes > 10


def test_what_is_wrong_is_a_line_and_the_status_1(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(bench.ATTACKS, "pictures", lambda folder, quick, say: ["x\udcff: crashed"] if quick else [])
    assert bench.main(["pictures", "--quick"]) == 1
    assert "1 fault(s).\n- x\\udcff: crashed\n" in capsys.readouterr().out
    assert bench.main(["pictures", "--keep", str(tmp_path / "new")]) == 0
    with pytest.raises(SystemExit):
        bench.main(["pictures", "--keep", str(tmp_path)])


@pytest.mark.slow
def test_a_twelfth_of_it(capsys):
    assert bench.main(["pictures", "--quick"]) == 0, capsys.readouterr().out


def test_settings_are_tried_on_every_key(tmp_path):
    settings = sys.modules["_attack_settings"]
    tried = list(settings.settings())
    assert len(tried) > 2000 and {path for _, path, _ in tried} >= {
        path for path, _ in settings.flatten(settings.base())
    }
    faults = []
    rows = settings.run(tmp_path, faults.append, every=101)
    assert faults == [] and sum(row[1] for row in rows) == -(-len(tried) // 101) and not any(row[4] for row in rows)
    assert settings.attempt(tmp_path, "batch_size", "8") == "accepted"
    assert settings.attempt(tmp_path, "batch_size", "x") == "refused"
