"""Whatever happens to a kept step, the newest or the best: `jaxcls inspect RUN --verify` says it, in lines."""

import json
import random
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxcls.checkpoints import manifest, overview, view
from jaxcls.checkpoints.store import Checkpoints
from jaxcls.cli.command import main
from jaxcls.errors import UserError
from scripts import load

attack = load("bench/_attack_checkpoints.py")
KEPT = ("2", "3", "4")  # 2 is the best, 4 the newest


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    attack.make(folder)
    return folder


@pytest.fixture
def workdir(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def check(capsys, *words):
    """(status, lines of the standard output, of the standard error) of inspect --verify."""
    status = main(["inspect", "--verify", *map(str, words)])
    out, err = capsys.readouterr()
    return status, out.splitlines(), err.splitlines()


@pytest.mark.parametrize("step", KEPT)
def test_damage_of_every_kind_to_every_kept_step_is_seen(whole, tmp_path, step, capsys):
    """Of each kind one to a file drawn at random; scripts/bench/attack.py takes all files."""
    kinds = {}
    for kind, damage in attack.damages(whole / "checkpoints" / step):
        kinds.setdefault(kind, []).append(damage)
    assert len(kinds) >= 20
    draw = random.Random(int(step))
    for kind, choices in kinds.items():
        damage = draw.choice(choices)
        workdir = shutil.copytree(whole, tmp_path / str(len(list(tmp_path.iterdir()))) / "run")
        damage(workdir / "checkpoints" / step)
        status, out, err = check(capsys, workdir)
        assert status == 1 and not err, (kind, out)
        assert any(line.startswith("step ") and "as written" not in line for line in out), (kind, out)


@pytest.mark.parametrize("text", attack.MANIFESTS, ids=range(len(attack.MANIFESTS)))
def test_a_manifest_of_anything_else_is_one_line(workdir, text, capsys):
    """One of 300 kB nested 100,000 times ended in a RecursionError."""
    (workdir / "manifests" / "2.json").write_text(text)
    status, out, err = check(capsys, workdir)
    damaged = [line for line in out if "as written" not in line]
    assert status == 1 and not err and len(damaged) <= 2 + len(attack.content(workdir / "checkpoints" / "2"))
    assert all(line.startswith("step 2 ") or "(best)" in line for line in damaged)
    status, out, err = check(capsys, workdir, "--step", 2)
    assert (status, len(err)) in ((2, 1), (1, 0)) and max(map(len, out + err)) < 400


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(KEPT), st.integers(0, 1000), st.integers(0), st.integers(0, 7))
def test_any_bit_of_any_file_counts(whole, step, which, position, bit):
    files = attack.content(whole / "checkpoints" / step)
    path = files[which % len(files)]
    if not (before := path.read_bytes()):
        return
    try:
        attack.flip(path, position, bit)
        problems = overview.verify(whole)["problems"]
    finally:
        path.write_bytes(before)
    name = path.relative_to(whole / "checkpoints" / step).as_posix()
    assert f"step {step}: {name}: its SHA-256 differs from the manifest's" in problems
    assert overview.verify(whole)["problems"] == []


def test_all_steps_are_named_and_what_is_skipped(workdir, capsys):
    expected = [f"step {step}: every file is as written" for step in ("2 (best)", "3", "4 (newest)")]
    assert check(capsys, workdir) == (0, expected, [])
    assert check(capsys, workdir / "checkpoints") == (0, expected, [])
    status, out, _ = check(capsys, workdir, "--step", 2)
    assert status == 0 and len(out) == 1 and out[0].endswith("2: every file is as written")
    shutil.copytree(workdir / "checkpoints" / "4", workdir / "checkpoints" / "5.orbax-checkpoint-tmp-7")
    (workdir / "checkpoints" / "notes.txt").write_text("mine")
    skipped = ["5.orbax-checkpoint-tmp-7: unfinished; skipped", "notes.txt: is no step; skipped"]
    assert check(capsys, workdir) == (0, expected + skipped, [])
    assert main(["inspect", str(workdir), "--verify", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["step"] for row in report["steps"]] == [2, 3, 4] and report["skipped"] == skipped


def test_a_newest_step_without_manifest_is_no_silent_fallback(workdir, capsys):
    (workdir / "manifests" / "4.json").unlink()
    status, out, _ = check(capsys, workdir)
    assert status == 1 and any(line.startswith("step 4: ") and "has no manifest" in line for line in out)
    assert "step 3 (newest): every file is as written" in out
    status, _, err = check(capsys, workdir, "--step", 4)
    assert status == 2 and len(err) == 1 and "unfinished" in err[0]


def test_manifests_of_before_name_no_folders(workdir):
    """Those of older versions list files only; the folders of the files are expected then."""
    path = workdir / "manifests" / "3.json"
    listed = json.loads(path.read_text())
    del listed["folders"]
    path.write_text(json.dumps(listed))
    assert view.verify(workdir / "checkpoints" / "3") == []
    (workdir / "checkpoints" / "3" / "meta" / "more").mkdir()
    assert view.verify(workdir / "checkpoints" / "3") == ["meta/more/: not in the manifest"]


def test_a_step_with_an_empty_folder_is_sealed_with_it(workdir):
    """Were Orbax to leave one, no good checkpoint may be called damaged for it."""
    folder = workdir / "checkpoints" / "3"
    (folder / "state" / "empty").mkdir()
    manifest.write_manifest(folder)
    assert view.verify(folder) == []
    (folder / "state" / "empty").rmdir()
    assert view.verify(folder) == ["state/empty/: missing"]


def test_a_rewritten_manifest_is_believed_but_not_for_another_step(workdir):
    """What a digest does not promise (docs/reliability.md): files and manifest rewritten together pass."""
    folder = workdir / "checkpoints" / "3"
    metrics = folder / "metrics" / "metrics"
    metrics.write_text('{"score": 1.0}')
    manifest.write_manifest(folder)
    assert view.verify(folder) == []
    other = folder.rename(folder.with_name("9"))
    manifest.write_manifest(other)
    assert view.verify(other) == ["meta/metadata: is of step 3, not of 9"]


def test_restoring_says_what_it_passes_over(workdir):
    lines = []
    shutil.rmtree(workdir / "checkpoints" / "4")
    (workdir / "manifests" / "3.json").write_text("[" * 100_000)
    chosen = Checkpoints(workdir, read_only=True)._choose(None, lines.append)
    assert chosen == 2 and len(lines) == 2
    assert "checkpoint 3 is damaged" in lines[0] and "nested too deeply" in lines[0]
    assert lines[1].startswith("checkpoint 4 is gone")
    (workdir / "manifests" / "3.json").unlink()
    lines.clear()
    assert Checkpoints(workdir, read_only=True)._choose(2, lines.append) == 2
    assert lines == ["checkpoint 3 has no manifest; it is passed over"]
    with pytest.raises(UserError, match="3 is unfinished"):
        Checkpoints(workdir, read_only=True)._choose(3, lines.append)
    lines.clear()
    assert Checkpoints(workdir)._choose(None, lines.append) == 2
    assert [step.number for step in view.list_steps(workdir)] == [2] and manifest.gone(workdir) == []
    assert overview.verify(workdir)["problems"] == []


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 10_000, '{"step": {}}', "[]", '{"figures": [1]}', ""])
def test_metadata_of_anything_is_one_line(workdir, text):
    (workdir / "checkpoints" / "2" / "meta" / "metadata").write_text(text)
    (workdir / "checkpoints" / "2" / "metrics" / "metrics").write_text(text)
    assert len(view.list_steps(workdir)) == 3
    if text != '{"step": {}}':
        with pytest.raises(UserError, match="damaged") as caught:
            view.read_meta(workdir / "checkpoints" / "2")
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert len(overview.verify(workdir)["problems"]) == 2
