"""Answers to labelled pictures that are not those of training, and what they are worth: of a run, or of a file.

Without JAX.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls import files, metrics, set_metrics
from jaxcls.data import class_names, overlap, query, sources, stored_splits
from jaxcls.data.base import Source, multilabel, subset
from jaxcls.data.views import joined, renumbered
from jaxcls.errors import UserError
from jaxcls.types import Figures, Note, PathLike


@dataclasses.dataclass(frozen=True)
class Scored:
    """What was measured.

    Attributes:
      figures: of all pictures, as of metrics.of_logits (or set_metrics.of_sets); with "unseen", those of the pictures
        that neither trained nor chose the weights, where the others are known and there are some of both.
      outputs: logits, label and index, rows of `source`.
      source: the pictures whose class the network knows.
      about: what else belongs to the figures: "data", "overlap", "classes".
    """

    figures: Figures
    outputs: dict[str, np.ndarray]
    source: Source
    about: dict[str, Any]


def find(name: str, *, data_dir: str = "", split: str = "", channels: int = 0) -> tuple[Source, str]:
    """(all pictures of a set as one source, a line that says which); of one of its own splits, where that is named.

    Raises:
      UserError: for a set that can't be opened, or has no such split.
    """
    bases = sources.find(name, data_dir=data_dir or None, channels=channels or None, trains=False)
    if split and split not in bases:
        there = f"it has {', '.join(bases)}" if len(bases) > 1 else "it has no splits of its own"
        raise UserError(f"--split={split}: {name} has no such split; {there}.")
    chosen = {split: bases[split]} if split else bases
    source = joined(list(chosen.values()))
    which = f"its {split} split" if split else "all of it"
    if len(chosen) > 1:
        which += f" ({', '.join(chosen)}; --split takes one)"
    return source, f"{name}: {len(source):,} pictures, {which}"


def score(
    source: Source,
    classes: Sequence[str],
    ask: Callable[[Source], Mapping[str, np.ndarray]],
    *,
    output: str = "softmax",
    stored: stored_splits.Stored | None = None,
    same_folder: bool = False,
    note: Note = print,
) -> Scored:
    """Figures of answers to a source, whose classes are matched by name.

    Args:
      source: any labelled pictures.
      classes: names of the answers' columns.
      ask: the pictures whose class is one of them -> {"logits" [n, classes], "label" [n] (or sets [n, classes]),
        "index" [n] (rows of them)}.
      output: what the answers mean; "sigmoid" wants sets of labels, of which those that are no column are left out.
      stored: the splits of the answering run, which the pictures are held against; None: they can't be.
      same_folder: whether ids of the source are ids of the run.
      note: where lines go.

    Raises:
      UserError: for a set without a class that is known, or with labels of the other kind.
    """
    check_kind(source, output)
    matched = class_names.match(source.classes, classes)
    source = renumbered(source, classes, [name or "" for name in matched.names])
    known = np.arange(len(source)) if multilabel(source) else np.flatnonzero(source.labels >= 0)
    left_out = len(source) - len(known)
    if not len(known):
        raise UserError(
            "none of these pictures is of a class that the model knows: the folders of "
            f"{class_names.some([name for name in matched.names if name])} are empty; add some."
        )
    if left_out:
        source = subset(source, known)
    lines = matched.lines() + ([f"{left_out:,} pictures of other classes are not scored"] if left_out else [])
    seen = overlap.find(source, stored, same_folder=same_folder)
    lines += seen.lines() if seen else []
    for line in lines:
        note(line)
    outputs = dict(ask(source))
    measure = set_metrics.of_sets if multilabel(source) else metrics.of_logits
    figures = measure(outputs["logits"], outputs["label"])
    unseen = np.ones(0, bool) if seen is None else seen.unseen[outputs["index"]]
    if 0 < unseen.sum() < len(unseen):
        figures["unseen"] = measure(outputs["logits"][unseen], outputs["label"][unseen])
    about = {
        "overlap": overlap.summary(seen),
        "classes": {"surplus": list(matched.surplus), "missing": list(matched.missing), "not_scored": left_out},
    }
    return Scored(figures, outputs, source, about)


def check_kind(source: Source, output: str) -> None:
    """Raises UserError where pictures have one label each and the answers are of sets, or the other way round."""
    if multilabel(source) and output != "sigmoid":
        raise UserError("these pictures have sets of labels, but the model answers with one class a picture.")
    if not multilabel(source) and output == "sigmoid":
        raise UserError(
            "these pictures have one label each, but the model answers with sets of them; give sets, for example by "
            "a table (table/FILE)."
        )


def describe(scored: Scored) -> list[str]:
    """The figures for people."""
    sets = "mAP" in scored.figures
    told = set_metrics.describe if sets else metrics.describe
    lines = [f"{'mAP' if sets else 'accuracy'} {told(scored.figures)}"]
    if "unseen" in scored.figures:
        lines.append(f"without what the run has trained on or was chosen by: {told(scored.figures['unseen'])}")
    elif any(split in scored.about["overlap"] for split in overlap.LEARNT):
        lines.append("all of these pictures trained the network or chose it: these figures say nothing of others")
    return lines


def name_of(data: str) -> str:
    """What the evaluation of a set is called, by its name: the folder's, with the one above it for `test` and the like.

    Raises:
      UserError: where that is no name of a file.
    """
    named = Path(query.path(data) or data)
    if data.startswith("table/"):
        named = named.with_suffix("")
    parts = [part for part in named.parts if part not in ("tfds", ".", "..", "/", "~")]
    name = parts[-1] if parts else data
    if name.lower() in (*stored_splits.SPLITS, "val", "valid") and len(parts) > 1:
        name = f"{parts[-2]}_{name}"
    return check_name("".join(c if c.isalnum() or c in "_." else "_" for c in name).strip("._"))


def check_name(name: str) -> str:
    """The name, if it can be that of an evaluation. Raises UserError otherwise."""
    if not name or name in ("train", "validation", "test") or not all(c.isalnum() or c in "_." for c in name):
        raise UserError(f"{name!r} can't be the name of an evaluation; give one of letters and digits as --name.")
    return name


def check_free(workdir: PathLike, title: str, root: str) -> None:
    """Raises UserError where an evaluation of this title (`NAME-STEP`) is there, of pictures from elsewhere."""
    earlier = (files.read_json(Path(workdir) / "eval" / f"{title}.json") or {}).get("data")
    if earlier is not None and earlier != root:
        raise UserError(f"{workdir} has an evaluation {title!r} of {earlier}; give this one another --name.")
