"""A run's network on pictures that are not its own: `jaxcls eval RUN --data`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxcls import files
from jaxcls.data import query, stored_splits
from jaxcls.errors import UserError
from jaxcls.parallel import Parallel
from jaxcls.settings.reader import Reader
from jaxcls.tasks import networks, tta
from jaxcls.training import clips, columns, data, evaluate_other, from_weights, same_run
from jaxcls.types import Figures, Note, PathLike


def elsewhere(
    config: Mapping[str, Any], workdir: PathLike, *, step: int | None = None, name: str = "", note: Note = print
) -> Figures | None:
    """Scores the set that the config names in place of the run's own, as `other`; None where it is the run's own.

    A folder in another place that holds the run's pictures, by name and content, is the run's own.
    """
    whole = from_weights.resolved(config, workdir)
    if "data.name" not in same_run.differences(same_run.to_json(whole), workdir) or _moved(whole, workdir):
        return None
    return other(whole, workdir, whole.data.name, step=step, name=name, note=note)


def _moved(config, workdir):
    """Whether the config's set holds all pictures that the run has stored."""
    try:
        members = data.open_members(Reader(config), workdir)
    except UserError:
        return False
    change = members.change()
    return change is not None and not change.differs


def other(
    config: Mapping[str, Any],
    workdir: PathLike,
    name_of_data: str,
    *,
    step: int | None = None,
    split: str = "",
    name: str = "",
    note: Note = print,
) -> Figures:
    """Scores all pictures of another set and stores the figures and logits beside the run's own, `eval/NAME-...`.

    Classes are matched by name (data.class_names); pictures that the run has trained on, or was chosen by, are told, by
    content (data.overlap), and there are figures without them, too.

    Args:
      config: the run's.
      workdir: of the run.
      name_of_data: as config.data.name.
      step: the checkpoint; None for the best one if there is a best, else the newest.
      split: one of the set's own; "" for all pictures.
      name: of the evaluation; "" for one made of the set's.
      note: where lines go.

    Returns:
      The figures (metrics.of_logits), with "overlap" and "classes".

    Raises:
      UserError: for a set, a checkpoint or a name that can't be used.
    """
    reader = Reader(from_weights.resolved(config, workdir))
    own = same_run.differences(same_run.to_json(reader.config), workdir)
    if strange := {key: own[key] for key in own if same_run.measured(key)}:
        raise UserError(f"pictures are scored as the run's own are, but {same_run.shown(strange)}; leave that out.")
    title = evaluate_other.check_name(name) if name else evaluate_other.name_of(name_of_data)
    network = networks.from_run(workdir, step)
    variant = tta.suffix(reader.eval.tta, network.views, reader.eval.tta_mean, network.mean)
    at, place = f"{network.step}{variant}", _place(name_of_data)
    evaluate_other.check_free(workdir, f"{title}-{at}", place)
    network = dataclasses.replace(network, views=tuple(reader.eval.tta), mean=reader.eval.tta_mean)
    clips.check_views(network.preprocessing.transforms, network.views)
    source, which = _source(name_of_data, split, reader, network.preprocessing)
    note(which)
    source = columns.added(source, getattr(network.model, "columns", ()), what=title, note=note)
    stored = stored_splits.read(workdir)
    if stored is None:
        note("this run has stored no splits, so what it has trained on among these pictures can't be told")
    scored = evaluate_other.score(
        network,
        source,
        Parallel.of(reader.parallel),
        batch_size=reader.eval.batch_size or reader.batch_size,
        stored=stored,
        same_folder=_same(name_of_data, reader, own),
        skipped=data.skipped(reader),
        note=note,
    )
    for line in evaluate_other.describe(scored):
        note(f"step {network.step}, {title}: {line}")
    path = evaluate_other.save(workdir, title, at, scored, place)
    note(f"logits in {path}; the run's own figures stay as they are")
    return {**scored.figures, **scored.about}


def _source(name, split, reader, prepared):
    """(Source, line that tells it) of a set, with as many channels as the run's `Preprocessing` has."""
    channels = prepared.picture[-1] if prepared.picture else prepared.channels
    folder = reader.data.dir if query.path(name) is None else ""
    return evaluate_other.find(name, data_dir=folder, split=split, channels=channels)


def _same(name, reader, changed):
    """Whether a set is the one that the run has its pictures from; `changed`: same_run.differences."""
    own, _ = changed.get("data.name", (reader.data.name, ""))
    return _place(name) == _place(str(own), reader.data.dir)


def _place(name, data_dir=""):
    """The name of a set by which it is known again: of a folder where it lies, of a table with its options."""
    path = query.path(name)
    if path is None:
        return name
    place = str((files.path(data_dir or ".") / files.path(path)).resolve())
    kind = name.partition("/")[0]
    return place if kind == "folder" else query.joined(f"{kind}/{place}", query.split(name)[1])
