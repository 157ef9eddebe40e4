"""A pruned run: the weights of another, without the channels that matter least, as a run that has not begun."""

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxcls import files
from jaxcls.checkpoints import view
from jaxcls.checkpoints.store import Checkpoints
from jaxcls.errors import UserError
from jaxcls.prune import build as rebuilt
from jaxcls.prune import groups as grouping
from jaxcls.prune import kept as keeping
from jaxcls.prune import select
from jaxcls.pytree import flatten_names
from jaxcls.settings.reader import Reader, resolve
from jaxcls.tasks import networks
from jaxcls.tasks.base import shown_figure
from jaxcls.tasks.networks import Network
from jaxcls.training import begin, build, evaluate, loop, pruning, run_weights, same_run
from jaxcls.training import data as data_part
from jaxcls.training.averaging import check_out
from jaxcls.types import Note

FILE = "prune.json"
SEARCHES = 7  # of a ratio by measurements
Milliseconds = Callable[[Network], float]


def prune(
    config: Any,
    source: str,
    out: str,
    *,
    start: str = "",
    latency: float = 0.0,
    measure: Milliseconds | None = None,
    note: Note = print,
) -> dict[str, Any]:
    """Writes a workdir with the weights that config.prune leaves of a run, at step 0 of the config: evaluated, ready
    to be trained on, and a run in all other ways.

    Args:
      config: of the new run; its model is the source's.
      source: workdir, or folder of a step, of the run.
      out: the new workdir.
      start: the run that the first of several rounds began with, of whose channels config.prune counts; "": one round.
      latency: milliseconds for a picture that may stay, in place of a ratio; of `measure`.
      measure: of a network.
      note: where lines go.

    Returns:
      what lies in `prune.json`.

    Raises:
      UserError: for settings that can't be, channels of which none may go, a target that can't be met, a folder in use.
    """
    check_out(out)
    if latency < 0:
        raise UserError(f"--latency must be above 0 milliseconds, not {latency:g}.")
    config = resolve(config)
    config.model.pretrained, config.model.kept = str(source), ()
    note(f"opening {config.data.name} ...")
    module, before, found = _chosen(config, source, start, latency, measure)
    config.model.kept = keeping.lines(found)
    workdir = view.best_step(source).parents[1]
    run = build.build(config, workdir=workdir)
    same_run.check_pictures(run.data, workdir, note)
    report = _report(module, run.data, before, found)
    note(_line(report))
    try:
        _write(Path(out), run, report, note)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)  # it was empty, and the same command shall find it so
        raise
    return report


def _chosen(config, source, start, latency, measure):
    """(the whole module, what is kept of it, what shall be kept)."""
    pruning.refuse_int8(source)
    reader = Reader(config)
    network = networks.from_run(source, dtype="float32")
    networks.refuse_columns(network, "pruning looks at")
    if network.key != "logits":
        raise UserError(f"{source} answers with {network.key}, and pruning wants a classifier; fine-tune it first.")
    spec, section = run_weights.spec_of(source), config.model
    if spec and (section.name, section.neck) != (spec["name"], spec["neck"]):
        raise UserError(f"config.model is that of {source}, {spec['name']}; leave config.model.name and neck away.")
    settings = pruning.read(reader)
    if not settings and not latency:
        raise UserError("nothing says how much shall go; give --ratio, --macs, --params or --latency.")
    if settings and latency:
        raise UserError("--latency excludes --ratio, --macs and --params: give one.")
    data = data_part.read(reader, trains=False, workdir=view.best_step(source).parents[1])
    before = run_weights.kept_of(source)
    module = network.model.module if before else network.model
    if settings:
        counted = run_weights.kept_of(start) if start else None
        return module, before, pruning.chosen(module, data, source, settings, before, counted)
    return module, before, _to_latency(network, module, data, source, reader, before, latency, measure)


def _to_latency(network, module, data, source, reader, before, limit, measure):
    """What is kept at the least ratio at which a picture takes no more milliseconds than that."""
    settings = dataclasses.replace(pruning.of_section(reader), ratio=0.5)
    weights = pruning.whole(module, data, source)
    gradients = pruning.gradients_of(module, data, weights) if settings.importance == "taylor" else None
    groups = grouping.find(module, data.picture)
    make = select.chooser(groups, flatten_names(weights), settings, before=before, gradients=gradients)

    def cost(found):
        small = rebuilt.of_module(module, found)
        variables = small.small(weights, data.picture) if found else weights
        return measure(dataclasses.replace(network, model=small, variables=variables, views=()))

    return select.to_target(make, cost, limit, "milliseconds", steps=SEARCHES)


def _report(module, data, before, found) -> dict[str, Any]:
    """Counts before and after, and of each group."""
    groups = grouping.find(module, data.picture)
    old, new = select.costs(groups, before), select.costs(groups, found)
    units = keeping.of_config(groups.groups, found)
    names = keeping.names(groups.groups)
    return {
        "parameters": [old.parameters, new.parameters],
        "multiply_adds": [old.multiply_adds, new.multiply_adds],
        "groups": {
            name: {"units": group.units, "kept": int(stays.sum())} | ({"why": group.why} if group.why else {})
            for name, group, stays in zip(names, groups.groups, units, strict=True)
        },
    }


def _line(report: Mapping[str, Any]) -> str:
    parts = []
    for name, title in (("parameters", "parameters"), ("multiply_adds", "multiply-adds")):
        old, new = report[name]
        parts.append(f"{title} {old:,} -> {new:,} ({new / old:.1%})")
    return ", ".join(parts)


def _write(out, run, report, note):
    """The workdir: what a run of this config has after no step."""
    out.mkdir(parents=True, exist_ok=True)
    state, loaded = run.first_state()
    figures = {}
    if run.selects:
        figures, _ = evaluate.Measure(run, "validation")(run.parallel.place(state))
        first = next(iter(run.task.criteria))
        note(f"validation {shown_figure(first, figures[first.name])}, before any fine-tuning")
    files.write_json(out / "config.json", run.stored)
    begin.store_data(run, out, 0)
    memory = {"pretrained": loaded.source}
    files.write_json(out / "pretrained.json", loaded.to_dict())
    store = Checkpoints(out, keep=run.training.keep, transient=run.task.transient)
    meta = loop.meta_of(run, 0, figures, memory)
    store.save(run.parallel.saveable(run.parallel.place(state)), meta, run.score(figures))
    store.close()
    files.write_json(out / FILE, {**report, "of": run.model.pretrained})
