"""Workdirs of every name: checkpoints in them can be read, or they are refused before anything is trained."""

import os
from pathlib import Path

import numpy as np
import pytest

from jaxcls.checkpoints import names, overview, view
from jaxcls.checkpoints.meta import Meta
from jaxcls.checkpoints.store import Checkpoints
from jaxcls.cli import arguments, run_config
from jaxcls.errors import UserError
from jaxcls.state import TrainState
from jaxcls.training import same_run


def state(step, value):
    noise = np.random.default_rng(step).normal(size=(50, 60)).astype(np.float32)  # what Orbax can't compress away
    params = {"kernel": np.full((40, 30), value, np.float32), "noise": noise}
    return TrainState(np.int32(step), params, {}, (), np.zeros(2, np.uint32), {}, {}, None)


def save(workdir, value, steps=(1, 2)):
    checkpoints = Checkpoints(workdir)
    for step in steps:
        checkpoints.save(state(step, value), Meta(step, {}))
    checkpoints.close()


NAMES = ["exp[1]", "a*b", "what?", "back\\slash", "gs:", "[!x]", "a b\n{c}%s猫", "x" * 255]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read(tmp_path, name):
    """`exp[1]` and `back\\slash` were sealed and could never be read; `gs:` was a KeyError."""
    workdir = tmp_path / name / "run"
    same_run.check({}, workdir)
    save(workdir, 7.0)
    arrays = view.read_arrays(view.find_step(workdir))
    assert np.all(arrays["params/kernel"] == 7) and len(view.read_tensors(view.find_step(workdir, 1))) == 4
    assert overview.verify(workdir)["problems"] == []
    restored, _ = Checkpoints(workdir).restore(state(0, 0.0), print)
    assert restored.step == 2
    save(workdir, 8.0, steps=[3])
    assert view.find_step(workdir).name == "3"
    assert [path.name for path in tmp_path.iterdir()] == [name]  # nothing lies under another name


def test_nothing_of_a_neighbour_that_fits_a_pattern_is_mixed_in(tmp_path):
    """`a*b` is also a pattern for `axb`, whose files Orbax would merge."""
    save(tmp_path / "axb", 1.0)
    save(tmp_path / "a*b", 2.0)
    for name, value in (("axb", 1), ("a*b", 2)):
        assert np.all(view.read_arrays(view.find_step(tmp_path / name))["params/kernel"] == value)


def test_links_slashes_and_other_places(tmp_path, monkeypatch):
    (tmp_path / "real[1]").mkdir()
    (tmp_path / "link").symlink_to("real[1]")
    save(f"{tmp_path}/link/", 1.0)
    assert overview.verify(tmp_path / "link")["problems"] == overview.verify(tmp_path / "real[1]")["problems"] == []
    monkeypatch.chdir(tmp_path)
    checkpoints = Checkpoints("far[2]")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    checkpoints.save(state(1, 1.0), Meta(1, {}))
    checkpoints.close()
    assert overview.verify(tmp_path / "far[2]")["problems"] == [] and not list(Path().iterdir())


def test_a_step_that_cannot_be_read_back_is_never_sealed(tmp_path, monkeypatch):
    """Orbax as it is, without the other name."""
    monkeypatch.setattr(names, "MAGIC", names.re.compile("(?!)"))
    monkeypatch.setattr(names, "DESCRIPTORS", tmp_path / "none")
    workdir = tmp_path / "exp[1]"
    with pytest.raises(UserError, match="checkpoint .*1 was written and can't be read back: ") as caught:
        save(workdir, 1.0)
    assert "\n" not in str(caught.value) and not (workdir / "manifests").exists()


@pytest.mark.parametrize("what", ["state/ocdbt.process_0/d", "state/_METADATA", "meta/metadata", "another array"])
def test_nor_one_that_lost_something_on_its_way(tmp_path, monkeypatch, what):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(1, 1.0), Meta(1, {}))
    manager = checkpoints._manager
    wait = manager.wait_until_finished

    def lose():
        wait()
        for path in [path for path in (tmp_path / "checkpoints").rglob("*") if path.is_file() and what in str(path)]:
            path.unlink()

    monkeypatch.setattr(manager, "wait_until_finished", lose)
    if what == "another array":
        checkpoints._pending[1]["params/bias"] = view.Tensor((3,), np.dtype("float32"))
    with pytest.raises(UserError, match="can't be read back"):
        checkpoints.close()
    assert not view.manifest_path(tmp_path / "checkpoints" / "1").exists()


@pytest.mark.parametrize("name, message", [
    ("gs://bucket/run", "is no folder of this machine"),
    ("s3:/bucket", "is no folder of this machine"),
    ("runs/" + "x" * 300, "300 bytes in one part of the path, and 255 are possible"),
    ("é" * 128, "256 bytes"),
    ("/".join(["x" * 200] * 25), "more than 3896 bytes"),
    (os.fsdecode(b"runs/\xff"), r"runs/\\udcff is no text in UTF-8"),
    ("a\0b", "zero byte"),
])  # fmt: skip
def test_names_that_cannot_work_are_refused_at_once(name, message):
    with pytest.raises(UserError, match=message) as caught:
        run_config.read("lenet5_digits", name)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    str(caught.value).encode()


def test_without_descriptors_such_names_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(names, "DESCRIPTORS", tmp_path / "nothing")
    names.check(tmp_path / "run")
    with pytest.raises(UserError, match="under Linux only"):
        names.check(tmp_path / "exp[1]")
    with pytest.raises(UserError, match="under Linux only"):
        save(tmp_path / "exp[1]", 1.0)


def test_runs_that_are_not_there_are_one_line(tmp_path):
    for name in ("x" * 300, "a\0b", "~nobody-of-this-name/x", str(tmp_path / "none")):
        with pytest.raises(UserError) as caught:
            view.find_step(name)
        assert len(str(caught.value)) < 400


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_the_home_folder_is_meant_by_a_tilde(home):
    assert run_config.read("lenet5_digits", "~/runs/mine")[1] == f"{home}/runs/mine"
    assert arguments.data_name("~/pictures") == f"folder/{home}/pictures"
    assert arguments.path("~/x.csv") == home / "x.csv" and arguments.expanded("hf-hub:a/b") == "hf-hub:a/b"
    assert arguments.expanded("~root/x").startswith("/")
    with pytest.raises(UserError, match=r"no home folder ~nobody-here is known; write \./~nobody-here/x"):
        arguments.expanded("~nobody-here/x")
    Path("~$lock.png").write_text("")  # as a shell's pattern gives it
    assert arguments.expanded("~$lock.png") == "~$lock.png"
    assert arguments.expanded("./~/x") == "./~/x"


def test_in_python_too(home, monkeypatch):
    import jaxcls
    from jaxcls.training import loop

    save(home / "run", 1.0)
    assert view.find_step("~/run").name == "2"
    seen = []
    monkeypatch.setattr(loop, "run", lambda config, workdir, **_: seen.append(workdir) or {})
    jaxcls.train("lenet5_digits", workdir="~/new")
    from jaxcls.defaults import default_config

    jaxcls.train(default_config(), workdir="~/new", data="~/pictures")
    assert seen == [home / "new"] * 2
    with pytest.raises(UserError, match=f"{home}/nothing"):
        jaxcls.load("~/nothing")
