"""Bad input through the command line: one line that names the thing and the remedy, status 2, nothing lost."""

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import types
import zlib
from pathlib import Path

import numpy as np
import pytest
import runs
from PIL import Image

from jaxcls import main
from jaxcls.checkpoints import view
from jaxcls.data import sources
from jaxcls.training import build, preflight

CONFIG = """
from jaxcls.defaults import default_config, parse_tiny

def get_config(arg=""):
    config = default_config()
    config.data.name = "synthetic/96x28x1x3"
    config.duration = "6 steps" if parse_tiny(arg) else "24 steps"
    config.batch_size = 16
    config.log_every = "4 steps"
    config.eval.every = config.checkpoint.every = "6 steps"
    config.schedule.peak = 0.05
    config.parallel.devices = 1
    {}
    return config
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The path of a good config file."""
    path = tmp_path_factory.mktemp("configs") / "good.py"
    path.write_text(CONFIG.format(""))
    return path


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    """The workdir of a whole run; copy it before changing anything."""
    workdir = tmp_path_factory.mktemp("run") / "w"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", open(os.devnull, "w"))  # noqa: SIM115  the console keeps it
        main.cli([f"--config={config}", f"--workdir={workdir}"])
    return workdir


@pytest.fixture
def cli(capsys):
    """Runs the command line in this process: `cli(*arguments) -> (status, output, lines of stderr)`."""

    def call(*arguments):
        status = 0
        try:
            main.cli([str(a) for a in arguments])
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err.splitlines()

    return call


@pytest.fixture
def refused(cli, monkeypatch, tmp_path):
    """Like `cli`, for what has to be refused before anything is compiled or written: returns the lines, as one text."""

    def compiles(*_):
        raise AssertionError("something was compiled before the mistake was found")

    def call(*arguments):
        arguments = [str(a) for a in arguments]
        workdir = tmp_path / "never"
        if not any(a.startswith("--workdir") for a in arguments):
            arguments.append(f"--workdir={workdir}")
        with monkeypatch.context() as patch:
            patch.setattr(build.Run, "init_state", compiles)
            status, _, lines = cli(*arguments)
        assert status == 2 and lines and all(line.startswith("error: ") for line in lines), (status, lines)
        assert not workdir.exists()
        return "\n".join(lines)

    return call


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--config.optim.momentun=0.9"], "optim.momentun does not exist; did you mean 'config.optim.momentum'?"),
        (["--config.momentum=0.9"], "config.momentum does not exist; did you mean 'config.optim.momentum'?"),
        (["--config.zzz=1"], "config.zzz does not exist; config has accumulate, auto_batch, batch_size"),
        (["--config.schedule.pct_start=0.2"], "config.schedule.pct_start=0.2 has no effect"),
        (["--config.batch_size=abc"], "--config.batch_size=abc: 'abc' is not a whole number; the config has 16"),
        (["--config.batch_size=6.5"], "'6.5' is not a whole number"),
        (["--config.schedule.peak=high"], "'high' is not a number"),
        (["--config.optim.nesterov=maybe"], "'maybe' is not true or false"),
        (["--config.data=3"], "--config.data is a section; write --config.data.name=3"),
        (["--config.batch_size"], "--config.batch_size has no value"),
        (["--config.model.fields.stem=cifar"], "model 'lenet5' has no field 'stem'"),
        (["--wrkdir=x"], "there is no argument --wrkdir; did you mean '--workdir'?"),
        (["--mode=evil"], "invalid choice: 'evil'"),
        (["--step=-1"], "invalid whole number value: '-1'"),
        (["configs/x.py"], "'configs/x.py' is no argument; a config is given as --config=configs/x.py"),
        (["--num_processes=2"], "--coordinator_address, --num_processes and --process_id go together"),
        (["--config.duration=0.001 epochs"], "config.duration is '0.001 epochs', which is less than one step"),
        (["--config.duration=10 lightyears"], "write it as '500 steps', '10 epochs' or '5%'"),
        (["--config.duration="], "config.duration is empty"),
        (["--config.eval.every=2 dogs"], "config.eval.every is '2 dogs'"),
        (["--config.schedule.warmup=100 steps"], "config.schedule.warmup is 100 steps, but the run has only 24"),
        (["--config.batch_size=18", "--config.parallel.devices=8"], "can't be divided by 8 (8 device(s)"),
        (["--config.batch_size=97"], "config.batch_size 97 is more than the 87 training examples"),
        (["--config.accumulate=3"], "try 18"),
        (["--config.parallel.devices=9"], "asks for 9 devices, but JAX sees 8"),
        (["--config.batch_size=0"], "config.batch_size is 0; it must be at least 1."),
        (["--config.seed=-1"], "config.seed is -1; it must be at least 0 and at most 4294967295."),
        (["--config.schedule.peak=nan"], "config.schedule.peak is nan; it must be above 0, and finite."),
        (["--config.optim.momentum=1"], "config.optim.momentum is 1.0; it must be at least 0 and below 1."),
        (["--config.data.normalize=imagenet"], "has 3 channels, but the pictures have 1"),
        (["--config.data.augment=crop(24)"], "model lenet5: LeNet-5 takes pictures of 28x28 or 32x32, not 24x24"),
        (["--config.data.augment=flop"], "there is no transform 'flop'; did you mean 'flip'?"),
        (["--config.model.name=lenet55"], "there is no model 'lenet55'; did you mean 'lenet5'"),
        (["--config.data.name=mnist"], "did you mean 'tfds/mnist'?"),
    ],
)  # fmt: skip
def test_a_mistake_on_the_command_line(refused, config, arguments, message):
    assert message in refused(f"--config={config}", *arguments)


@pytest.mark.parametrize(
    "line, message",
    [
        ("config.optim.momentun = 0.9", "there is no key 'momentun'; did you mean 'momentum'?"),
        ("config.optim.zzzzz = 0.9", "config.zzzzz does not exist"),
        ("config.schedule.peak = 'x'", "peak must be a number (float) such as 0.1, not a text (str)."),
        ("config.duration = 100", "duration must be a text (str) such as '10 epochs', not a whole number (int)."),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import nonexistent", "No module named 'nonexistent'"),
        ("config.foo(", "'(' was never closed"),
    ],
)
def test_a_mistake_in_a_config_file_is_named_with_its_line(refused, tmp_path, line, message):
    path = tmp_path / "bad.py"
    path.write_text(CONFIG.format(line))
    text = refused(f"--config={path}")
    assert message in text and f"{path}, line 13: " in text and "\n" not in text


@pytest.mark.parametrize(
    "name, message",
    [
        ("god.py", r"--config=.*god.py does not exist; did you mean '.*good.py'\?"),
        ("nowhere/good.py", "there is no folder .*nowhere"),
        ("", r"is a folder; give one of its files, such as .*\.py"),
        ("good.py:tyni", r"good.py: this config takes the argument ':tiny' or none, not ':tyni'"),
        ("noget.py", "has no function get_config"),
        ("noreturn.py", "get_config must return a ConfigDict, not NoneType; is 'return' missing?"),
        ("noarg.py:tiny", "takes no argument; leave off ':tiny'"),
        ("none.py", "config.batch_size is None, but must be a int"),
    ],
)
def test_a_wrong_config_file(refused, config, name, message):
    folder = config.parent
    (folder / "noget.py").write_text("x = 1")
    (folder / "noreturn.py").write_text("def get_config(arg=''): pass")
    (folder / "noarg.py").write_text("def get_config(): return None")
    (folder / "none.py").write_text(CONFIG.format("config.batch_size = None"))
    text = refused(f"--config={folder}/{name}")
    assert re.search(message, text) and "\n" not in text
    assert "--config is empty" in refused("--config=")
    assert "give --config=" in refused("--workdir=")


def test_several_mistakes_are_shown_at_once(refused, config):
    arguments = ["--config.ema_decay=2", "--config.accumulate=0", "--config.loss.label_smoothing=-1"]
    assert len(refused(f"--config={config}", *arguments).splitlines()) == 3
    assert len(refused(f"--config={config}", "--config.x=1", "--config.batch_size=y").splitlines()) == 2
    arguments = ["--config.parallel.devices=99", "--config.data.name=nothing", "--config.data.normalize=mnits"]
    assert len(refused(f"--config={config}", *arguments).splitlines()) == 3


def test_settings_of_every_type(config, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        "jaxcls.training.loop.run", lambda config, workdir, **_: seen.update(config=config, workdir=workdir)
    )
    main.cli([
        f"--config={config}:tiny", "--config.batch_size=1e3", "--config.optim.nesterov=yes",
        "--config.schedule.peak", "1",
        "--config.data.augment=resize(28), crop(28, pad=2)", "--config.data.split_ratios=(0.5, 0.5, 0)",
        "--config.data.mean=0.5", "--config.optim.decay_mask=a$", "--config.optim.decay_mask=b$",
        "--config.model.fields.width=3", "--config.model.fields.stem=cifar", "--config.data.eval_transform=()",
    ])  # fmt: skip
    got = seen["config"]
    assert seen["workdir"] == "runs/good" and got.duration == "6 steps"
    assert (got.batch_size, got.optim.nesterov, got.schedule.peak) == (1000, True, 1.0)
    assert got.data.augment == ("resize(28)", "crop(28, pad=2)") and got.data.eval_transform == ()
    assert got.data.split_ratios == (0.5, 0.5, 0) and got.data.mean == (0.5,) and got.optim.decay_mask == ("a$", "b$")
    assert got.model.fields.to_dict() == {"width": 3, "stem": "cifar"}


def test_check_says_little_and_writes_nothing(cli, config, tmp_path):
    status, out, lines = cli(f"--config={config}", "--mode=check", f"--workdir={tmp_path / 'w'}")
    assert status == 0 and not lines and not (tmp_path / "w").exists()
    assert "ready" in out and len(out.splitlines()) <= 10  # with a table of three classes, and the memory of a device


def pictures(folder, classes=("cat", "dog"), n=12):
    """Writes n small JPEG pictures of each class."""
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(folder / name / f"{i}.jpg")
    return folder


def folder_arguments(config, folder):
    return [
        f"--config={config}", f"--config.data.name=folder/{folder}", "--config.batch_size=8",
        "--config.data.channels=1",
        "--config.data.augment=random_resized_crop(28)", "--config.data.eval_transform=resize(32), center_crop(28)",
    ]  # fmt: skip


def big_png(side):
    """A PNG of side x side black pixels of 1 bit, some tens of KB however large."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress((b"\0" + bytes(-(-side // 8))) * side, 9)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("cat/a.jpg", b"hello, I am a text\n" * 9, "cat/a.jpg: not a picture that is read here, but text"),
        ("cat/a.png", b"", "cat/a.png: empty file"),
        ("cat/big.png", big_png(20_000), "cat/big.png: 20000 x 20000 = 400,000,000 pixels"),
        ("cat/0.jpg", None, "cat/0.jpg: truncated JPEG, its data ends after"),
        ("bird/notes.txt", b"no picture", "bird: class folder without pictures (there: 1 text file(s))"),
    ],
)
def test_a_bad_file_in_a_folder(refused, config, tmp_path, name, content, message):
    path = pictures(tmp_path / "set") / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(path.read_bytes()[:1500] if content is None else content)
    began = time.monotonic()
    text = refused(*folder_arguments(config, tmp_path / "set"))
    assert message in text and "\n" not in text
    assert time.monotonic() - began < 5  # the 400 megapixels are judged by the header


def test_bad_pictures_of_all_splits_are_named_together(refused, config, tmp_path):
    for split in ("train", "val"):
        (pictures(tmp_path / "set" / split) / "cat" / "x.jpg").write_text("no picture")
    lines = refused(*folder_arguments(config, tmp_path / "set")).splitlines()
    assert "train/cat/x.jpg" in lines[0] and "val/cat/x.jpg" in lines[1]


def test_folders_without_what_is_needed(refused, config, tmp_path):
    root = tmp_path / "set"
    assert f"folder {root} does not exist" in refused(*folder_arguments(config, root))
    pictures(root / "train"), pictures(root / "val", ("cat", "dog", "cow"))
    assert "class 'cow' is not in train; add it to train or remove it" in refused(*folder_arguments(config, root))
    (root / "train" / "cow").mkdir()
    assert "train/cow: class folder without pictures" in refused(*folder_arguments(config, root))
    one = pictures(tmp_path / "one", ("cat",))
    assert "two classes are the least" in refused(*folder_arguments(config, one))


def test_damage_that_only_decoding_finds_is_told_before_the_run(cli, config, tmp_path):
    """A byte in the middle of a PNG: a second's time is enough to decode all of so small a set."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        path = pictures(tmp_path / "set" / "train", (name,)) / name / "z.png"
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 255
        path.write_bytes(data)
    shutil.copytree(tmp_path / "set" / "train", tmp_path / "set" / "val", ignore=shutil.ignore_patterns("*.png"))
    status, _, lines = cli(*folder_arguments(config, tmp_path / "set"), f"--workdir={tmp_path / 'w'}")
    assert status == 2 and len(lines) == 1
    assert re.search(r"train/cat/z.png: .*damaged.*; train/dog/z.png: .*damaged", lines[0])


def test_labels_out_of_range_and_a_class_without_examples(refused, config, monkeypatch):
    def load(labels):
        images = np.zeros((len(labels), 28, 28, 1), np.uint8)
        return lambda *_, **__: {"train": sources.ArraySource(images, labels, ("a", "b", "c"), list(map(str, labels)))}

    for labels, message in (
        ([0, 1, 2, 3] * 8, "of the train split have labels such as 3, but there are 3 classes (0 to 2)"),
        ([0, 1, 2, -1] * 8, "labels such as -1"),
        ([0, 2] * 16, "no training examples of b"),
    ):
        monkeypatch.setattr("jaxcls.data.sources.find", load(np.array(labels)))
        assert message in refused(f"--config={config}")


def test_a_set_that_is_not_prepared_names_the_command(refused, config, tmp_path):
    text = refused(f"--config={config}", "--config.data.name=tfds/mnist", f"--config.data.dir={tmp_path}")
    assert f"get it with: jaxcls prepare mnist --data-dir={tmp_path}" in text


def test_a_workdir_that_cannot_be_one(refused, config, tmp_path):
    (tmp_path / "file").write_text("x")
    for workdir, message in (
        (tmp_path / "file", "is a file; choose another"),
        (tmp_path / "file" / "below", "is a file; choose another"),
        ("/proc/jaxcls", "can't be written"),
        (tmp_path / ("x" * 300), "300 bytes in one part of the path, and 255 are possible"),
    ):
        assert message in refused(f"--config={config}", f"--workdir={workdir}")


def test_the_workdir_of_another_config(refused, config, finished):
    before = (finished / "config.json").read_text()
    text = refused(f"--config={config}", f"--workdir={finished}", "--config.schedule.peak=0.06", "--config.seed=1")
    assert "config.schedule.peak is 0.05 there and 0.06 now" in text and "config.seed is 0 there and 1 now" in text
    assert (finished / "config.json").read_text() == before


def test_too_little_room_is_noticed_at_once(refused, config, monkeypatch):
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=10_000))
    assert re.search("checkpoints of this run need .* MiB, but .* has 0.0 MiB free", refused(f"--config={config}"))


def test_evaluation_without_a_checkpoint(refused, cli, config, finished, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no run (no " in refused("--mode=eval", f"--workdir={empty}")
    status, _, lines = cli("--mode=eval", f"--config={config}", f"--workdir={empty}")
    assert status == 2 and "holds no finished checkpoint; train first" in lines[0] and not list(empty.iterdir())
    status, _, lines = cli("--mode=eval", f"--workdir={finished}", "--step=7")
    assert status == 2 and len(lines) == 1 and "holds no step 7; it holds " in lines[0]


def test_a_checkpoint_of_another_architecture(cli, finished):
    status, _, lines = cli("--mode=eval", f"--workdir={finished}", "--config.model.name=simple_cnn_16_32")
    assert status == 2 and len(lines) == 1 and "an evaluation is of the run's own model and splits" in lines[0]
    assert "config.model.name is 'lenet5' there" in lines[0]


def largest(folder):
    """The file with the arrays of a checkpoint."""
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def flip(folder):
    data = bytearray(largest(folder).read_bytes())
    data[len(data) // 2] ^= 1
    largest(folder).write_bytes(data)


DAMAGE = {
    "a flipped byte": (flip, "SHA-256 differs"),
    "a lost file": (lambda folder: largest(folder).unlink(), "missing"),
    "no manifest": (lambda folder: view.manifest_path(folder).unlink(), "unfinished"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over(cli, config, finished, tmp_path, kind):
    workdir, (damage, message) = tmp_path / "w", DAMAGE[kind]
    shutil.copytree(finished, workdir)
    *_, before, newest = sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())
    damage(workdir / "checkpoints" / str(newest))
    status, out, _ = cli(f"--config={config}", f"--workdir={workdir}")
    assert status == 0
    assert re.search(f"warning: checkpoint {newest} .*{message}.*; it is passed over", out)
    assert f"going on from step {before}" in out
    assert (workdir / "damaged" / f"{newest}-0" / "state").is_dir()  # nothing is deleted
    whole, again = runs.final_arrays(finished), runs.final_arrays(workdir)
    assert all(np.array_equal(whole[name], again[name]) for name in whole)  # as if nothing had happened
    assert json.loads((workdir / "results.json").read_text()) == json.loads((finished / "results.json").read_text())


def test_all_checkpoints_damaged(cli, config, finished, tmp_path):
    workdir = tmp_path / "w"
    shutil.copytree(finished, workdir)
    steps = sorted((workdir / "checkpoints").iterdir())
    for path in steps:
        flip(path)
    status, _, lines = cli("--mode=eval", f"--workdir={workdir}")
    assert status == 2 and len(lines) == 1 and "is damaged" in lines[0]
    assert sorted((workdir / "checkpoints").iterdir()) == steps  # evaluation moves nothing
    status, out, _ = cli(f"--config={config}", f"--workdir={workdir}")
    assert status == 0 and "no good checkpoint is left: the run starts from the beginning" in out
    assert len(list((workdir / "damaged").iterdir())) == len(steps)


def test_training_pictures_that_changed_since(cli, config, tmp_path):
    root, workdir = pictures(tmp_path / "set"), tmp_path / "w"
    arguments = [*folder_arguments(config, root), f"--workdir={workdir}", "--config.duration=2 steps"]
    arguments += ["--config.eval.every=", "--config.checkpoint.every="]
    assert cli(*arguments)[0] == 0
    shutil.copy(root / "cat" / "1.jpg", root / "cat" / "0.jpg")
    status, _, lines = cli(*arguments)
    assert status == 2 and len(lines) == 1 and "1 changed in train ('cat/0.jpg')" in lines[0]
    assert [step.finished for step in view.list_steps(workdir)] == [True]


def test_a_loss_that_is_not_finite(cli, config, tmp_path):
    """A rate of a million: the loss explodes within a few steps, and the checkpoint from before stays."""
    arguments = [
        "--config.schedule.peak=1e6",
        "--config.model.name=simple_cnn_16_32",
        "--config.checkpoint.every=1 step",
    ]
    status, _, lines = cli(f"--config={config}", f"--workdir={tmp_path / 'w'}", *arguments)
    assert status == 2 and len(lines) == 1
    found = re.search(
        r"(loss|grad norm|a parameter) is not finite at step (\d+); the checkpoint of step (\d+) is intact", lines[0]
    )
    assert "Lower config.schedule.peak" in lines[0] and int(found[3]) == int(found[2]) - 1
    last = [step for step in view.list_steps(tmp_path / "w") if step.finished][-1]
    assert last.number == int(found[3]) and not view.verify(last.path)
    assert all(np.isfinite(x).all() for x in view.read_arrays(last.path).values())


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 6 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_becomes_full(small_disk, tmp_path):
    """In a process of its own, whose stderr holds what Orbax's threads print, too."""
    workdir, filler = small_disk / "w", small_disk / "filler"
    arguments = ["--config.duration=20000 steps", "--config.checkpoint.every=20 steps", "--config.eval.every="]
    process = runs.start(workdir, *arguments)
    log = Path(f"{workdir}.log")
    while process.poll() is None and len(list((workdir / "manifests").glob("*.json"))) < 2:
        time.sleep(0.05)
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65536))
        except OSError:
            pass
    assert process.wait(60) == 2, log.read_text()
    filler.unlink()
    errors = [line for line in log.read_text().splitlines() if "error" in line.lower() or "Traceback" in line]
    assert len(errors) == 1 and "No space left on device" in errors[0], log.read_text()
    good = [step for step in view.list_steps(workdir) if step.finished]
    assert good and all(not view.verify(step.path) for step in good)
    again = runs.start(workdir, *arguments)
    wait_for(again, log, "compiling the training step ...", times=2)
    again.send_signal(signal.SIGTERM)
    assert again.wait(60) == 0 and "going on from step" in log.read_text()


def wait_for(process, log, text, times=1):
    """Waits until a run has printed something so many times."""
    while process.poll() is None and log.read_text().count(text) < times:
        time.sleep(0.02)
    assert log.read_text().count(text) >= times


LONG = ["--config.duration=100000 steps", "--config.eval.every=", "--config.checkpoint.every=200 steps"]


def test_ctrl_c_saves_and_a_second_one_ends_at_once(tmp_path):
    workdir, log = tmp_path / "w", tmp_path / "w.log"
    process = runs.start(workdir, *LONG)
    wait_for(process, log, "step 20/")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    text = log.read_text()
    assert "press Ctrl-C again" in text and "Traceback" not in text
    step = int(re.search(r"stopped by Ctrl-C after step (\d+) of 100000; the state is saved", text)[1])
    assert view.find_step(workdir).name == str(step)

    process = runs.start(workdir, *LONG)
    wait_for(process, log, f"going on from step {step}")
    process.send_signal(signal.SIGINT)  # while the step is compiled, or soon after
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)  # one of two that come at the same moment may be lost
    began = time.monotonic()
    assert process.wait(60) == 130 and time.monotonic() - began < 2
    assert "Traceback" not in log.read_text()
    good = [entry for entry in view.list_steps(workdir) if entry.finished]
    assert good and all(not view.verify(entry.path) for entry in good)


@pytest.mark.parametrize("moment", [0.3, 1.0, "opening"])
def test_ctrl_c_before_the_loop(tmp_path, moment):
    workdir, log = tmp_path / "w", tmp_path / "w.log"
    process = runs.start(workdir, *LONG)
    if isinstance(moment, float):
        time.sleep(moment)
    else:
        wait_for(process, log, moment)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    lines = [line for line in log.read_text().splitlines() if line and not line.startswith("opening")]
    assert len(lines) == 1 and lines[0].startswith("ended by Ctrl-C"), lines


@pytest.mark.slow
def test_signals_to_a_whole_group_with_reading_processes(tmp_path):
    """A terminal sends Ctrl-C to the workers too, and no process is left, however the run ends."""
    workdir, log = tmp_path / "w", tmp_path / "w.log"
    arguments = [*LONG, "--config.data.device_memory=0", "--config.data.workers=1"]
    for end in (signal.SIGINT, signal.SIGKILL):
        process = runs.start(workdir, *arguments, start_new_session=True)
        wait_for(process, log, "step 20/" if end == signal.SIGINT else "going on from step")
        if end == signal.SIGINT:
            os.killpg(process.pid, end)
            assert process.wait(60) == 130
            assert "Traceback" not in log.read_text()
        else:
            time.sleep(3)  # the worker has started
            process.kill()
            process.wait()
        deadline = time.monotonic() + 20
        while group_lives(process.pid) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not group_lives(process.pid)


def group_lives(number):
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True
