"""Disks that are full, become full, or are read-only: how every command that writes ends, whether what was there is
still whole, and whether the same command does it once there is space. Needs the right to mount file systems."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from _attack_run import Counts, Ended, command, environment
from PIL import Image

from jaxcls.checkpoints import view

SIZES = (32, 512, 1536)  # KiB of a disk that is too small from the start
FILLED = (0, 8, 64, 200, 400, 700)  # KiB left on a disk that becomes full while a run saves
FREE = (0, 12, 96)  # KiB left on the disk on which a command writes
SIZE = "--config.data.augment=resize(28,28) --config.data.eval_transform=resize(28,28) --config.data.channels=1"
TRAIN = f"train --config=lenet5_digits --config.batch_size=16 --config.checkpoint.every=20_steps {SIZE}"
RUN = f"{TRAIN} --config.data.name=synthetic/256x28x1x4 --config.duration=200_steps --config.eval.every=100_steps"
# what writes, and where to: {run} is on the disk, {out} a new name on it; {pictures} and {aside}, a run, are elsewhere
COMMANDS = (
    TRAIN + " --data={pictures} --config.duration=40_steps --workdir={run}",
    TRAIN + " --data={pictures} --config.duration=40_steps --workdir={out}",
    "eval {run}",
    "eval {run} --data {pictures}",
    "report {run}",
    "calibrate {run} --apply",
    "robustness {run} --corruptions gaussian_noise --strengths 1",
    "predict {run} {pictures} --out {out}.csv",
    "predict {run} {pictures} --out {out}.jsonl",
    "predict {run} {pictures} --heatmaps {out}",
    "average {run} --last 2 --out {out}",
    "export {run} --out {out}.safetensors",
    "export {run} --out {out}.pth",
    "compare {run} {aside} --out {out}",
    "probe {run} --workdir {out}",
    "baseline --data {pictures} --workdir {out}",
    "clean {pictures} --out {out}",
    "find-lr --config lenet5_digits --data {pictures} --steps 20 --config.batch_size=16 {size} --out {out}",
    "show-augment --config lenet5_digits --data {pictures} --config.batch_size=16 {size} --out {out}.png",
    "inspect {run} --verify",
    "check --config=lenet5_digits --config.batch_size=16 {size} --data={pictures} --workdir={out}",
)


@contextlib.contextmanager
def disk(folder: Path, kibibytes: int) -> Iterator[Callable[[str], None]]:
    """A file system of that size at `folder`; yields what remounts it with other options."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", folder], check=True)
    try:
        yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path, free: int) -> Path:
    """Writes a file until so many KiB are free; returns it."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    os.truncate(filler, max(0, filler.stat().st_size - free * 1024))
    return filler


def in_a_line(ended: Ended) -> bool:
    """Whether a command did what it should, or refused in one line."""
    errors = [line for line in ended.errors.splitlines() if line.startswith("error")]
    told = ended.status == 2 and len(errors) == 1 and len(errors[0]) < 400
    return (told or ended.status == 0) and "Traceback" not in ended.errors + ended.out


def whole(workdir: Path) -> str:
    """What is damaged in a run; empty where nothing is."""
    damaged = [f"step {step.number}" for step in view.list_steps(workdir) if step.finished and view.verify(step.path)]
    for path in [*workdir.rglob("*.json"), *workdir.rglob("metrics.jsonl")]:
        try:
            for text in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
                json.loads(text)
        except ValueError:
            damaged.append(str(path.relative_to(workdir)))
    return ", ".join(damaged)


def told(ended: Ended) -> str:
    return f"{ended.status}: {ended.errors[-300:]}"


def run(folder: Path, note: Callable[[str], None]) -> list[tuple[str, int, int]]:
    """Tries all commands on all disks.

    Args:
      folder: empty; what is made lies there.
      note: gets a line for each case that ends otherwise than it should.

    Returns:
      [(kind, tried, good)].
    """
    count = Counts(note)

    _training(folder, count)
    names = _prepare(folder)
    for words in COMMANDS:
        with disk(folder / "disk", 64 * 1024) as remount:
            _command(words.format(**names), Path(names["run"]), folder / "run", remount, count)
    return count.rows


def _training(folder, count):
    """Runs on disks that are too small, or become full, and the same command once there is space."""
    undisturbed = folder / "undisturbed"
    assert not command(_words(RUN, undisturbed)).status
    arrays, workdir = view.read_arrays(view.find_step(undisturbed)), folder / "disk" / "run"

    def goes_on(what):
        again = command(_words(RUN, workdir))
        now = {} if again.status else view.read_arrays(view.find_step(workdir))
        same = now.keys() == arrays.keys() and all(now[name].tobytes() == arrays[name].tobytes() for name in arrays)
        count("the same bits once there is space", same, f"{what}: {told(again)}")

    for size in SIZES:
        with disk(folder / "disk", size) as remount:
            ended = command(_words(RUN, workdir))
            good = in_a_line(ended) and ended.status == 2 and "free some space" in ended.errors
            count("training on a disk too small", good, f"{size} KiB: {told(ended)}")
            remount("size=64m")
            goes_on(f"{size} KiB")
    for free in FILLED:
        with disk(folder / "disk", 8 * 1024):
            ended, filler = _filled(workdir, free)
            count("a disk that becomes full", in_a_line(ended), f"{free} KiB: {told(ended)}")
            count("what a full disk leaves is whole", not whole(workdir), f"{free} KiB: {whole(workdir)}")
            filler.unlink()
            goes_on(f"{free} KiB left")


def _filled(workdir, free):
    """A run whose disk becomes full after its first checkpoint; (how it ended, what fills the disk)."""
    words = [sys.executable, "-m", "jaxcls", *_words(RUN, workdir)]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors, env=environment())
        while process.poll() is None and not list((workdir / "manifests").glob("*.json")):
            time.sleep(0.002)
        filler = fill(workdir.parent, free)
        process.wait()
        errors.seek(0)
        return Ended(process.returncode, 0, 0, 0, "", errors.read().decode()), filler


def _prepare(folder):
    """Pictures and two runs; the names for COMMANDS."""
    rng = np.random.default_rng(0)
    for label in range(3):
        (folder / "pictures" / "abc"[label]).mkdir(parents=True)
        for index in range(20):
            pixels = (rng.random((28, 28)) * 120 + 60 * label).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / "abc"[label] / f"{index}.png")
    names = {"pictures": folder / "pictures", "run": folder / "disk" / "run", "out": folder / "disk" / "new"}
    words = f"{TRAIN} --data={names['pictures']} --config.duration=40_steps"
    ended = command(_words(words, folder / "run"))
    assert not ended.status, ended.errors
    shutil.copytree(folder / "run", folder / "aside")
    return {**names, "aside": folder / "aside", "size": SIZE}


def _words(text, workdir=None):
    words = [word.replace("_steps", " steps") for word in text.split()]
    return [*words, f"--workdir={workdir}"] if workdir else words


def _command(text, workdir, original, remount, count):
    """One command on a disk that is full but for a little, on a read-only one, and on one with space."""
    verb = text.split()[0]
    for free in FREE:
        for left in workdir.parent.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        shutil.copytree(original, workdir)
        filler = fill(workdir.parent, free)
        ended = command(_words(text))
        count("a full disk", in_a_line(ended), f"{free} KiB, {text}: {told(ended)}")
        count("what was there is whole", not whole(workdir), f"{free} KiB, {text}: {whole(workdir)}")
        if verb == "eval" and "--data" not in text:
            count("figures are printed though they can't be written", "accuracy" in ended.out, f"{text}: {ended.out}")
    filler.unlink()
    ended = command(_words(text))
    count("the same command once there is space", ended.status == 0, f"{text}: {told(ended)}")
    remount("ro")
    ended = command(_words(text), more={"HOME": str(workdir.parent), "XDG_CACHE_HOME": ""})
    count("a read-only disk, and home", in_a_line(ended), f"{text}: {told(ended)}")
    if verb == "eval" and "--data" not in text:
        count("figures are printed though they can't be written", "accuracy" in ended.out, f"{text}: {ended.out}")
