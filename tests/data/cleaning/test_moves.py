import json
import os
import subprocess
import sys

import pytest

from jaxcls.data.cleaning import moves
from jaxcls.errors import UserError

FILES = {f"train/{name}/{i}.jpg": f"{name}{i}".encode() for name in "ab" for i in range(4)}
CHOSEN = ["train/a/1.jpg", "train/a/3.jpg", "train/b/0.jpg"]


def tree(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture
def root(tmp_path):
    for name, content in FILES.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(content)
    return tmp_path / "set"


def test_there_and_back(root):
    aside = moves.aside_of(root)
    assert aside == root.parent / "set.removed"
    assert moves.apply(root, CHOSEN, aside) == 3
    assert tree(root) == {name: x for name, x in FILES.items() if name not in CHOSEN}
    moved = tree(aside)
    lines = [json.loads(line) for line in moved.pop(moves.JOURNAL).decode().splitlines()]
    assert moved == {name: FILES[name] for name in CHOSEN}
    assert [(x["from"], x["to"]) for x in lines] == [(str(root / n), str(aside / n)) for n in CHOSEN]
    assert moves.apply(root, CHOSEN, aside) == 0  # again: nothing to do
    assert moves.undo(aside / moves.JOURNAL) == (3, [])
    assert tree(root) == FILES and list(tree(aside)) == [moves.JOURNAL]
    assert moves.undo(aside / moves.JOURNAL) == (0, [])
    assert moves.apply(root, CHOSEN[:1], aside) == 1 and moves.undo(aside / moves.JOURNAL) == (1, [])
    assert tree(root) == FILES


@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize(
    "name, way", [("fsync", "apply"), *((x, y) for x in ("link", "unlink") for y in ("apply", "undo"))]
)
def test_an_interruption_anywhere_leaves_both_ways_open(root, monkeypatch, name, after, way):
    """Stopped before or after the journal's line, the new name, the end of the old one; then repeated, then undone."""
    aside = moves.aside_of(root)
    if way == "undo":
        moves.apply(root, CHOSEN, aside)

    def act():
        return moves.apply(root, CHOSEN, aside) if way == "apply" else moves.undo(aside / moves.JOURNAL)

    calls, real = [], getattr(os, name)
    for before in (True, False):
        calls.clear()

        def stops(*args, before=before, **kwargs):
            calls.append(args)
            if len(calls) > after and before:
                raise KeyboardInterrupt
            real(*args, **kwargs)
            if len(calls) > after:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(os, name, stops)
            with pytest.raises(KeyboardInterrupt):
                act()
        everything = {**tree(aside), **tree(root)}
        assert {x for name, x in everything.items() if name != moves.JOURNAL} == set(FILES.values())  # nothing is lost
        act()
        assert (set(tree(root)) == set(FILES) - set(CHOSEN)) == (way == "apply")
        moves.undo(aside / moves.JOURNAL)
        assert tree(root) == FILES
        if way == "undo":
            moves.apply(root, CHOSEN, aside)


def test_a_process_that_is_killed_half_way(root):
    """SIGKILL after the second file's line in the journal; the last line is torn on top of that."""
    script = (
        "import os, signal, sys; from pathlib import Path; from jaxcls.data.cleaning import moves\n"
        "real, calls = os.link, []\n"
        "def link(*a, **k):\n"
        "    calls.append(a)\n"
        "    if len(calls) == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    real(*a, **k)\n"
        "os.link = link; root = Path(sys.argv[1]); moves.apply(root, sys.argv[2:], moves.aside_of(root))\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(root), *CHOSEN]).returncode == -9
    aside = moves.aside_of(root)
    journal = aside / moves.JOURNAL
    assert len(tree(root)) == 7 and len(journal.read_text().splitlines()) == 2
    journal.write_text(journal.read_text()[:-20])
    assert moves.apply(root, CHOSEN, aside) == 2
    assert moves.undo(journal) == (3, []) and tree(root) == FILES


def test_nothing_is_overwritten(root):
    aside = moves.aside_of(root)
    moves.apply(root, CHOSEN, aside)
    (root / CHOSEN[0]).write_bytes(b"new")
    count, problems = moves.undo(aside / moves.JOURNAL)
    assert count == 2 and len(problems) == 1 and "exists again" in problems[0]
    assert (root / CHOSEN[0]).read_bytes() == b"new" and (aside / CHOSEN[0]).read_bytes() == FILES[CHOSEN[0]]
    assert moves.apply(root, CHOSEN[:1], aside) == 1  # the new one goes, too, under another name
    assert (aside / "train/a/1.1.jpg").read_bytes() == b"new"
    assert moves.undo(aside / moves.JOURNAL)[0] == 1  # the newest comes back; the older one has no place
    assert (root / CHOSEN[0]).read_bytes() == b"new"


def test_file_systems_without_hard_links(root, monkeypatch):
    def refuses(*args, **kwargs):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuses)
    aside = moves.aside_of(root)
    assert moves.apply(root, CHOSEN, aside) == 3 and moves.undo(aside / moves.JOURNAL) == (3, [])
    assert tree(root) == FILES
    with pytest.raises(FileExistsError):
        moves.move(root / CHOSEN[0], root / CHOSEN[1])


@pytest.mark.parametrize(
    "paths, aside, message",
    [
        (["train/a/9.jpg"], "out", "is missing"),
        (["../other.jpg"], "out", "not a path inside"),
        (["/etc/hostname"], "out", "not a path inside"),
        ([""], "out", "not a path inside"),
        (["train/a/1.jpg"], "set/train/removed", "is inside"),
        (["train/a/1.jpg"], "set/train/a/1.jpg/x", "is inside"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_moves(root, paths, aside, message):
    (root.parent / "other.jpg").write_bytes(b"not yours")
    with pytest.raises(UserError, match=message):
        moves.apply(root, ["train/b/1.jpg", *paths], root.parent / aside)
    assert tree(root) == FILES


def test_a_link_out_of_the_folder_is_no_way_out(root):
    (root.parent / "elsewhere").mkdir()
    (root.parent / "elsewhere/x.jpg").write_bytes(b"not yours")
    (root / "train/link").symlink_to(root.parent / "elsewhere")
    with pytest.raises(UserError, match="not a path inside"):
        moves.apply(root, ["train/link/x.jpg"], moves.aside_of(root))
    (root / "train/a/linked.jpg").symlink_to(root.parent / "elsewhere/x.jpg")
    moves.apply(root, ["train/a/linked.jpg"], moves.aside_of(root))  # the link itself is the folder's own
    assert (root.parent / "elsewhere/x.jpg").exists() and not os.path.lexists(root / "train/a/linked.jpg")


def test_a_journal_of_another_kind_is_refused(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        moves.undo(tmp_path / "journal.jsonl")
    (tmp_path / "x.csv").write_text("path,action\na,move\nb,keep\n")
    with pytest.raises(UserError, match="not a journal"):
        moves.undo(tmp_path / "x.csv")
    (tmp_path / "x.bin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not text"):
        moves.undo(tmp_path / "x.bin")
