"""A run killed again and again, at every moment of its life: whether what it had sealed is still whole, and whether it
ends with the bits and records of a run that nothing disturbed."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from _attack_processes import STEPS, Processes, finish, saved
from _attack_run import Counts

from jaxcls.checkpoints import view
from jaxcls.logs.records import read_metrics

KILLS = 27
MOMENTS = ("starting", "compiling", "stepping", "saving", "sealing", "stepping")  # in turns


def one_kill(workdir: Path, moment: str, chance: random.Random) -> tuple[bool, str]:
    """Starts the run (again) and kills it; (whether every sealed step is whole, what is not)."""
    before, process = saved(workdir), Processes(workdir, number=1, who=(0,))
    come = {
        "starting": lambda: True,
        "compiling": lambda: "compiling the training step" in process.outputs[0].read_text(),
        "saving": lambda: saved(workdir) > before and any((workdir / "checkpoints").glob("*tmp*")),
        "sealing": lambda: saved(workdir) > before and bool(unsealed(workdir)),
    }.get(moment, lambda: saved(workdir) > before)
    try:
        if not process.until(come):
            return False, f"it ended before: {process.end(0, 1)}"
        time.sleep(chance.uniform(0, {"starting": 3, "compiling": 1, "stepping": 0.5}.get(moment, 0)))
        process.started[0].send_signal(signal.SIGKILL)
        if process.started[0].wait(60) != -signal.SIGKILL:
            return False, "it ended by itself"
    finally:
        process.clear()
    steps = view.list_steps(workdir) if (workdir / "checkpoints").exists() else []
    damaged = [step.number for step in steps if step.finished and view.verify(step.path)]
    if saved(workdir) < before or damaged:
        return False, f"steps {damaged} are damaged; the newest is {saved(workdir)}, before it was {before}"
    return True, ""


def unsealed(workdir: Path) -> set[str]:
    """Steps that are committed, and have no manifest yet."""
    steps = {path.name for path in (workdir / "checkpoints").glob("*") if path.name.isdigit()}
    return steps - {path.stem for path in (workdir / "manifests").glob("*.json")}


def records(workdir: Path) -> list[tuple]:
    """What a run has recorded, less its speed."""
    return [(x["step"], x["split"], x["loss"]) for x in read_metrics(workdir) if "loss" in x]


def run(folder: Path, note: Callable[[str], None]) -> list[tuple[str, int, int]]:
    """Kills a run `KILLS` times, then lets it end.

    Args:
      folder: empty; what is made lies there.
      note: gets a line for each case that ends otherwise than it should.

    Returns:
      [(kind, tried, good)].
    """
    chance, workdir = random.Random(0), folder / "killed"
    count = Counts(note)

    for turn in range(KILLS):
        moment = MOMENTS[turn % len(MOMENTS)]
        count(f"SIGKILL while {moment}", *one_kill(workdir, moment, chance))
    at = saved(workdir)
    resumed, whole = finish(workdir, number=1), finish(folder / "whole", number=1)
    count("bits after all kills", bool(whole) and resumed == whole, "they differ")
    count("records after all kills", records(workdir) == records(folder / "whole"), "they differ")
    count("still under way at the last kill", at < STEPS, f"it was at step {at}")
    return count.rows
