"""The runs of a ladder, one after another, each in a process of its own: finished ones stay, others go on."""

import dataclasses
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from jaxcls.ablate import ladder, table
from jaxcls.ablate.ladder import Rung
from jaxcls.errors import Problems, UserError
from jaxcls.files import read_json, write_json
from jaxcls.models import summary
from jaxcls.training import preflight, same_run
from jaxcls.training.signals import STATUS, Stopped, handed_on
from jaxcls.types import Note, PathLike

RECORD = "ablate.json"  # in a run's folder: what it cost, and why it failed
OUTPUT = "output.txt"  # what it printed


@dataclasses.dataclass
class Ended:
    """How a process ended: exit status, last line, seconds, and the signal that asked for the end, if one did."""

    status: int
    line: str
    seconds: float
    cpu_seconds: float
    signal: int | None = None


Launch = Callable[[Any, Path], Ended]  # from a config and the run's folder


def run(
    rungs: Sequence[Rung], workdir: PathLike, seeds: int, *, launch: Launch | None = None, note: Note = print
) -> dict[str, Any]:
    """Runs what is missing of a ladder, writes the table (`table.write`) after each run, and returns its report.

    The first seed (0) goes through all rungs, then the next: so a whole table is there early. A run that fails is noted
    and its rung goes without it; the next call tries it again, from its newest checkpoint.

    Args:
      rungs: of `ladder.load`.
      workdir: folder of the ladder; a run is in RUNG/seed-N.
      seeds: how many.
      launch: in place of a process of `jaxcls.main`.
      note: where lines go.

    Raises:
      UserError: for a rung that cannot work, or a workdir with runs of other configs; before anything is run.
      Stopped: after SIGTERM or Ctrl-C, once the run under way has saved its state.
    """
    runs = [(rung, seed, *ladder.of_seed(rung, rungs, seed, workdir)) for seed in range(seeds) for rung in rungs]
    refuse_changed(runs)
    left = [item for item in runs if not finished(item[3])]
    costs = check([rung for rung in rungs if any(item[0] is rung for item in left)], rungs, workdir)
    note(f"{len(runs) - len(left)} of {len(runs)} runs are finished")
    table.write(rungs, workdir, seeds)
    began = time.monotonic()
    for i, (rung, seed, config, folder) in enumerate(left):
        note(f"{rung.name}, seed {seed}: started; what it prints goes to {folder / OUTPUT}")
        ended = _one(config, folder, launch or in_process, costs[rung.name])
        report = table.write(rungs, workdir, seeds)
        if ended.signal is not None:
            raise Stopped(f"stopped within {rung.name}, seed {seed}", STATUS[ended.signal])
        pace = (time.monotonic() - began) / (i + 1)
        rest = f"; {len(left) - i - 1} runs left, about {pace * (len(left) - i - 1) / 60:.0f} minutes"
        note(f"{rung.name}, seed {seed}: {_outcome(folder, ended)}, {ended.seconds:.0f} s{rest}")
    return report if left else table.write(rungs, workdir, seeds)


def refuse_changed(runs: Iterable[tuple[Rung, int, Any, Path]]) -> None:
    """Raises UserError where a folder holds a run of another config, naming the key (`same_run.check`)."""
    problems = Problems()
    for _, _, config, folder in runs:
        with problems.noted():
            same_run.check(same_run.to_json(config), folder)
    problems.refuse()


def check(wanted: Iterable[Rung], rungs: Sequence[Rung], workdir: PathLike) -> dict[str, dict[str, float]]:
    """Builds every rung that is wanted, and checks it as a run would: a mistake in the last one is found at once.

    Returns:
      Name of the rung -> {"pictures", "multiply_adds"}: pictures trained on in a run, multiply-adds for one.

    Raises:
      UserError: with a line for each problem.
    """
    from jaxcls.training import build

    problems: dict[str, list[str]] = {}
    costs = {}
    for rung in wanted:
        config = ladder.trial(rung, rungs)
        config.parallel.devices = 0  # this process has no accelerator
        try:
            run = build.build(config)
            shape: Any = run.data.batch_shape
            preflight.check(run, ladder.run_folder(rung, "trial", workdir), note=lambda line: None)
            macs = summary.summarize(run.model.module, shape).total.macs
        except UserError as error:
            for line in str(error).splitlines():
                problems.setdefault(line, []).append(rung.name)
            continue
        costs[rung.name] = {"pictures": run.training.total_steps * config.batch_size, "multiply_adds": macs}
    if problems:
        more = {line: f" and {len(names) - 1} more" if names[1:] else "" for line, names in problems.items()}
        raise UserError("\n".join(f"{names[0]}{more[line]}: {line}" for line, names in problems.items()))
    return costs


def finished(folder: PathLike) -> bool:
    """Whether a run has ended with a result."""
    return read_json(Path(folder) / "results.json") is not None


def in_process(config: Any, folder: Path) -> Ended:
    """Runs `python -m jaxcls.main` with a config, as an ordinary run with the folder as its workdir.

    SIGTERM and Ctrl-C are handed on to it: it saves and stops, a second Ctrl-C ends it at once. It is in a process
    group of its own, or a terminal would send it each Ctrl-C twice.
    """
    write_json(folder / "config.json", same_run.to_json(config))  # where --workdir alone looks for it
    command = [sys.executable, "-m", "jaxcls.main", f"--workdir={folder}"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with open(folder / OUTPUT, "a") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment, process_group=0
        )
        with handed_on(process.send_signal) as signals:
            status = process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    lines = (folder / OUTPUT).read_text(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return Ended(status, last.removeprefix("error: "), time.monotonic() - began, cpu, next(iter(signals), None))


def _one(config, folder, launch, cost):
    """One run, with its record: seconds are those of all attempts together."""
    folder.mkdir(parents=True, exist_ok=True)
    earlier = read_json(folder / RECORD) or {}
    ended = launch(config, folder)
    failed = None
    if not finished(folder) and ended.signal is None:
        failed = ended.line or f"exit status {ended.status}"
        if ended.status < 0:
            failed = f"killed by signal {-ended.status} ({failed})"
    seconds = {key: earlier.get(key, 0) + getattr(ended, key) for key in ("seconds", "cpu_seconds")}
    write_json(folder / RECORD, {**cost, **seconds, "failed": failed})
    return ended


def _outcome(folder, ended):
    results = read_json(folder / "results.json")
    if results is None:
        return f"failed: {ended.line or ended.status}"
    split, figures = next(iter(results.items()))
    return f"{split} accuracy {figures['accuracy']:.2%}" if "accuracy" in figures else f"{split} without an accuracy"
