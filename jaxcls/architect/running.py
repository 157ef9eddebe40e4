"""The runs of an architecture search, one after another, each an ordinary run in a process of its own.

    workdir/supernet                 the supernet with its controller
    workdir/found.py                 the config of the net that the controller chose
    workdir/found/seed-N             that net from scratch
    workdir/shared.json              what random search and evolution took of the same shared weights
    workdir/evolution-search/seed-N  that net from scratch; random-search alike
    workdir/random-K/seed-N, ...     random nets of no more multiply-adds, and a known net, trained alike
    workdir/nas.json, nas.html       what all say together, written anew after each run

Killed at any moment it goes on where it was: a run that is finished is not run again, others go on from their newest
checkpoint.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxcls.ablate import running
from jaxcls.ablate.running import Launch
from jaxcls.architect import nets as made
from jaxcls.architect import record, shared
from jaxcls.architect.nets import Net
from jaxcls.errors import Problems, UserError
from jaxcls.files import read_json, replacing, write_json
from jaxcls.models import create, summary
from jaxcls.nas.space import Space
from jaxcls.nas.supernet import largest
from jaxcls.report import architecture as page
from jaxcls.settings.reader import resolve
from jaxcls.training import preflight, same_run
from jaxcls.training.signals import STATUS, Stopped
from jaxcls.types import Note, PathLike

CONFIG = "found.py"


class Search(NamedTuple):
    """A search that has been checked: its config as JSON has it, its space, steps of the supernet's run."""

    config: dict[str, Any]
    space: Space
    steps: int


def checked(config: Any, workdir: PathLike) -> Search:
    """Builds the supernet's run, the largest net of the space and the known one, and checks them. Takes seconds.

    Raises:
      UserError: with a line for each thing that cannot work.
    """
    from jaxcls.training import build

    config, problems = resolve(config), Problems()
    if not tuple(config.nas.stages):
        raise UserError(
            "config.nas.stages is empty: the space has no stage; write for example "
            "--config.nas.stages=\"('mbconv(16)', 'mbconv(24, times=2, stride=2)')\" (docs/nas.md)."
        )
    alone = config.copy_and_resolve_references()
    alone.parallel.devices = 0  # this process has no accelerator
    run = build.build(alone)
    space = run.task.model.space
    preflight.check(run, Path(workdir) / record.SUPERNET, note=lambda line: None)
    others = [made.of_choice(space, largest(space))]
    others += [made.known(config.nas.reference)] if config.nas.reference else []
    for net in others:
        with problems.noted():
            try:
                built = build.build(_alone(net.config(config, 0)))
                preflight.check(built, Path(workdir) / "trial", note=lambda line: None)
            except UserError as error:
                raise UserError(f"{net.model}, to be trained from scratch: {str(error).splitlines()[0]}") from error
    with problems.noted():
        if len(made.random_nets(space, 3, space.macs(largest(space)), config.seed)) < 3:
            raise UserError(
                f"the space has {space.size} choices: too few to be compared; give its stages more options."
            )
    problems.refuse()
    return Search(json.loads(json.dumps(config.to_dict())), space, run.training.total_steps)


def run(
    search: Search,
    workdir: PathLike,
    *,
    launch: Launch = running.in_process,
    ask: Callable[[Path, Path], dict[str, Any]] = shared.ask,
    note: Note = print,
) -> dict[str, Any]:
    """Runs what is missing of a search; returns what nas.json has.

    Raises:
      UserError: for a workdir with runs of other configs, or a supernet that failed.
      Stopped: after SIGTERM or Ctrl-C, once the run under way has saved its state.
    """
    workdir = Path(workdir)
    folder = workdir / record.SUPERNET
    supernet = resolve(search.config)
    _refuse_changed({folder: supernet})
    if not running.finished(folder):
        note(f"the supernet: started, {search.steps:,} steps; what it prints goes to {folder / running.OUTPUT}")
        _one(supernet, folder, launch)
        if not running.finished(folder):
            raise UserError(f"the supernet failed: {(read_json(folder / running.RECORD) or {}).get('failed')}")
    memory, section = record.controller(folder), search.config["nas"]
    target = {"cost": section["cost"], "target": section["target"], "name": workdir.resolve().name}
    told = record.of_search(search.space, memory, target, search.steps)
    choice = record.chosen(search.space, memory)
    note(f"the controller chose {told['described']}: {told['macs']:,} multiply-adds, {told['params']:,} parameters")
    asked = _asked(search, workdir, ask, note)
    nets = _nets(search, choice, asked, note)
    jobs = {workdir / net.name / f"seed-{seed}": net.config(search.config, seed) for net, seed in _order(nets, section)}
    _refuse_changed(jobs)
    _write_config(workdir, nets[0].config(search.config, search.config["seed"]), told["described"])
    counts = {net.name: _counts(net, search.space) for net in nets}
    told["searches"] = asked
    write = lambda: _write(workdir, told, nets, counts, section["seeds"])  # noqa: E731
    _train(jobs, launch, write, note)
    return write()


def _train(jobs, launch, write, note):
    """The runs from scratch that are not finished."""
    left = {folder: config for folder, config in jobs.items() if not running.finished(folder)}
    note(f"{len(jobs) - len(left)} of {len(jobs)} nets from scratch are finished")
    write()
    began = time.monotonic()
    for i, (folder, config) in enumerate(left.items(), 1):
        name = "/".join(folder.parts[-2:])
        _one(config, folder, launch)
        write()
        pace, results = (time.monotonic() - began) / i, read_json(folder / "results.json")
        accuracy = next(iter(results.values())).get("accuracy") if results else None
        reached = f"accuracy {accuracy:.2%}" if accuracy is not None else "failed"
        note(f"{name}: {reached}; {len(left) - i} runs left, about {pace * (len(left) - i) / 60:.0f} minutes")


def _one(config, folder, launch):
    """A run in its folder, with a record of what it cost."""
    folder.mkdir(parents=True, exist_ok=True)
    earlier = read_json(folder / running.RECORD) or {}
    ended = launch(config, folder)
    done = running.finished(folder)
    seconds = {key: earlier.get(key, 0) + getattr(ended, key) for key in ("seconds", "cpu_seconds")}
    failed = None if done or ended.signal is not None else ended.line or f"exit status {ended.status}"
    write_json(folder / running.RECORD, {**seconds, "failed": failed})
    if ended.signal is not None:
        raise Stopped(f"stopped within {folder}", STATUS[ended.signal])


def _asked(search, workdir, ask, note):
    """What random search and evolution take of the shared weights; {} where none is wanted."""
    count = search.config["nas"]["asked"]
    if not count:
        return {}
    note(f"random search and evolution ask the shared weights about {count} nets each")
    return ask(workdir / record.SUPERNET, workdir / shared.FILE)


def _nets(search, choice, asked, note):
    """The choice, those of other searches, random nets of no more multiply-adds, a known one."""
    space, section = search.space, search.config["nas"]
    seed = search.config["seed"]
    others = made.by_searches(space, asked, [choice])
    drawn = made.random_nets(space, section["random"], space.macs(choice), seed, besides=[choice])
    if len(drawn) < section["random"]:
        note(f"{len(drawn)} other nets have no more multiply-adds than the choice, not {section['random']}")
    known = [made.known(section["reference"])] if section["reference"] else []
    return [made.of_choice(space, choice), *others, *drawn, *known]


def _order(nets, section):
    """(net, seed), the first seed of all nets first: a whole table is there early."""
    return [(net, seed) for seed in range(section["seeds"]) for net in nets]


def _counts(net: Net, space: Space) -> dict[str, int]:
    """Multiply-adds and parameters, of the pictures of the space."""
    model: Any = create(net.model, num_classes=space.classes, **net.fields)
    total = summary.summarize(model, space.picture).total
    return {"macs": total.macs, "params": total.parameters}


def _write(workdir, told, nets, counts, seeds):
    rows = record.of_nets(nets, counts, workdir, seeds)
    supernet = {**record._run(workdir / record.SUPERNET)}
    content = {**told, "supernet": supernet, "nets": rows, "verdict": record.judged(rows)}
    write_json(workdir / record.FILE, content)
    page.write(content, workdir)
    return content


def _write_config(workdir, config, described):
    docstring = (
        f"Found by jaxcls nas: {described}.\n\n    jaxcls train --config={workdir}/{CONFIG}\n\n"
        "Its nets were trained with seeds from 0 on."
    )
    with replacing(workdir / CONFIG) as temporary:
        temporary.write_text(made.as_file(config, docstring + "\n"))


def _refuse_changed(jobs):
    problems = Problems()
    for folder, config in jobs.items():
        with problems.noted():
            same_run.check(same_run.to_json(config), folder)
    problems.refuse()


def _alone(config):
    config.parallel.devices = 0
    return config


__all__ = ["CONFIG", "Net", "Search", "checked", "run"]
