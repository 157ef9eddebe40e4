"""Damage of every kind to every kept step of a run, and whether `jaxcls inspect RUN --verify` sees it."""

import contextlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from jaxcls.checkpoints.meta import Meta
from jaxcls.checkpoints.store import Checkpoints
from jaxcls.cli import command
from jaxcls.state import TrainState

SCORES = (0.3, 0.9, 0.5, 0.6)  # of steps 1 to 4; 2 (the best), 3 and 4 are kept
FLIPS = 8  # of each file


def make(workdir: Path) -> None:
    """A run with three kept steps, of which the oldest is the best."""
    checkpoints = Checkpoints(workdir, keep=2)
    for step, score in enumerate(SCORES, 1):
        kernel = np.random.default_rng(step).normal(size=(40, 30)).astype(np.float32)
        rng = np.array([step, 1], np.uint32)
        state = TrainState(np.int32(step), {"fc": {"kernel": kernel}}, {}, (), rng, {}, {}, None)
        checkpoints.save(state, Meta(step, {"lr": 0.1}), score)
    checkpoints.close()


def content(folder: Path) -> list[Path]:
    """The files of a step."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flip(path: Path, position: int, bit: int) -> None:
    """One bit of a file."""
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 1 << bit % 8
    path.write_bytes(data)


def damages(folder: Path) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """(kind, what is done to a step's folder) for each damage to a step that has the files of `folder`."""
    manifest = lambda step: step.parents[1] / "manifests" / f"{step.name}.json"  # noqa: E731
    rng = np.random.default_rng(int(folder.name))
    for path in content(folder):
        name = path.relative_to(folder)
        for position, bit in rng.integers(0, 1 << 30, (FLIPS, 2)) if path.stat().st_size else ():
            yield "a bit of a file", lambda step, n=name, p=int(position), b=int(bit): flip(step / n, p, b)
        if path.stat().st_size:
            yield "a file cut", lambda step, n=name: os.truncate(step / n, (step / n).stat().st_size // 2)
            yield "a file emptied", lambda step, n=name: os.truncate(step / n, 0)
        yield "a file longer", lambda step, n=name: (step / n).write_bytes((step / n).read_bytes() + b"\0")
        yield "a file gone", lambda step, n=name: (step / n).unlink()
        yield "a file renamed", lambda step, n=name: (step / n).rename(step / f"{n}.old")
        yield "a file as a link", lambda step, n=name: _link(step / n)
        if os.geteuid():
            yield "a file unreadable", lambda step, n=name: (step / n).chmod(0)
    yield "a file more", lambda step: (step / "state" / "stranger").write_bytes(b"")
    yield "a folder more", lambda step: (step / "state" / "stranger").mkdir()
    yield "a link more", lambda step: (step / "stranger").symlink_to("state")
    yield "a pipe more", lambda step: os.mkfifo(step / "stranger")
    yield "a folder gone", lambda step: shutil.rmtree(step / "state")
    yield "the step gone", shutil.rmtree
    yield "the step as a link", lambda step: _link(step)
    yield "the step renamed", lambda step: step.rename(step.with_name("77"))
    yield "the step renamed with its manifest", _rename
    yield "two steps swapped", lambda step: _swap(step, _other(step))
    yield (
        "two steps swapped with their manifests",
        lambda step: (
            _swap(step, _other(step)),
            _swap(manifest(step), manifest(_other(step))),
        ),
    )
    yield "two manifests swapped", lambda step: _swap(manifest(step), manifest(_other(step)))
    yield "the manifest gone", lambda step: manifest(step).unlink()
    yield "the manifest as a link", lambda step: _link(manifest(step))
    for text in MANIFESTS:
        yield "another manifest", lambda step, t=text: manifest(step).write_text(t)
    for key, value in (("step", 77), ("step", None), ("step", "2"), ("step", True), ("files", {}), ("files", [])):
        yield "a manifest edited", lambda step, k=key, v=value: _edit(manifest(step), k, v)


MANIFESTS = (
    "",
    "{",
    "null",
    "[]",
    "0",
    '"text"',
    "[" * 100_000,
    '{"files":' * 50_000,
    "9" * 10_000,
    '{"step": ' + "9" * 10_000 + "}",
    '{"step": 2, "files": {"a": {}}}',
    '{"step": 2, "files": {}, "folders": 3}',
    '{"step": 2, "files": {}, "folders": [[]]}',
    "\udcff".encode(errors="surrogateescape").decode("latin-1"),
    " " * (17 << 20),
)


def _other(step):
    return next(path for path in sorted(step.parent.iterdir()) if path.name != step.name)


def _swap(a, b):
    middle = a.with_name("middle")
    a.rename(middle)
    b.rename(a)
    middle.rename(b)


def _link(path):
    """The same content elsewhere, and a link to it."""
    aside = path.parents[len(path.parents) - 1 - path.parts.index("run")] / "aside"
    shutil.move(path, aside)
    path.symlink_to(aside)


def _rename(step):
    step.rename(step.with_name("77"))
    manifests = step.parents[1] / "manifests"
    (manifests / f"{step.name}.json").rename(manifests / "77.json")


def _edit(manifest, key, value):
    listed = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**listed, key: value}))


def verify(workdir: Path) -> tuple[int, str, str]:
    """(status, standard output, standard error) of `jaxcls inspect WORKDIR --verify`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = command.main(["inspect", str(workdir), "--verify"])
    return status, out.getvalue(), err.getvalue()


def run(folder: Path, note: Callable[[str], None]) -> list[tuple[str, int, int]]:
    """Does each damage to each kept step.

    Args:
      folder: empty; what is made lies there.
      note: gets a line for each damage that is not seen, or is answered with more than a line.

    Returns:
      [(kind, tried, seen)].
    """
    make(folder / "whole")
    if verify(folder / "whole")[0]:
        note("a run that is whole is called damaged")
    counts: dict[str, list[int]] = {}
    for step in sorted((folder / "whole" / "checkpoints").iterdir()):
        for kind, damage in damages(step):
            workdir = folder / "run"
            shutil.copytree(folder / "whole", workdir)
            damage(workdir / "checkpoints" / step.name)
            try:
                status, _, err = verify(workdir)
                seen = status in (1, 2) and err.count("\n") == (status == 2)
            except Exception as error:
                seen, status = False, f"{type(error).__name__}: {error}"[:200]
            count = counts.setdefault(kind, [0, 0])
            count[0] += 1
            count[1] += seen
            if not seen:
                note(f"{kind}, step {step.name}: not seen ({status})")
            shutil.rmtree(workdir)
    return [(kind, tried, seen) for kind, (tried, seen) in counts.items()]
