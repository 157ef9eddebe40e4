"""What a report is made of: the files that a run and its evaluation left in the workdir, read once."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxcls import files
from jaxcls.checkpoints import folds, view
from jaxcls.checkpoints.meta import NOTHING, Meta
from jaxcls.columns import IMPORTANCE
from jaxcls.criteria import CLASSIFICATION, SETS, Figure
from jaxcls.errors import UserError
from jaxcls.logs.records import read_metrics
from jaxcls.measure import calibration, decision, figures, hierarchy, stored
from jaxcls.measure.multilabel import figures as set_figures
from jaxcls.measure.multilabel.redraw import Answers
from jaxcls.measure.softmax import Softmax
from jaxcls.report.markup import label as shown_name
from jaxcls.types import Figures, PathLike


@dataclasses.dataclass
class Evidence:
    """A run and one evaluation of it: with logits, without them (of a task that predicts none), or none at all.

    Attributes:
      workdir: folder of the run.
      split, step: of the evaluation; "" and None where nothing was evaluated.
      logits, label, index: the stored predictions (measure.stored); empty without logits. Where labels are sets
        (`sets`) report.multilabel speaks of them, and what follows from one class a picture (probability, predicted,
        ..) is not for them.
      recorded: the figures that the evaluation left and that no logits give: all of them without logits, else those of
        the task's own that are of something else (a vote of neighbours).
      importance: what the net owes to each column beside the picture, where it takes some (training/importance.py).
      about: what an evaluation on other pictures tells of them: "data", "overlap", "classes", "unseen".
      classes: names.
      meta: the JSON item of the step's checkpoint, or of another step's where that is gone; NOTHING without any.
      config: the run's config as nested dicts.
      lines: `metrics.jsonl`.
      rows: `eval/<split>-rows.json` ({"id", "columns"}); None without.
      decision: `calibration/<step>.json` (measure.decision); None without.
      validation: predictions of the validation split at the same step, where the report is about another one.
    """

    workdir: Path
    split: str = ""
    step: int | None = None
    logits: Float[np.ndarray, "n classes"] = dataclasses.field(default_factory=lambda: np.zeros((0, 0), np.float32))
    label: Int[np.ndarray, " n"] = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))
    index: Int[np.ndarray, " n"] = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))
    recorded: Figures = dataclasses.field(default_factory=dict)
    importance: dict[str, Any] = dataclasses.field(default_factory=dict)
    about: dict[str, Any] = dataclasses.field(default_factory=dict)
    classes: tuple[str, ...] = ()
    meta: Meta = NOTHING
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    lines: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    rows: dict[str, Any] | None = None
    decision: dict[str, Any] | None = None
    validation: stored.Logits | None = None

    @property
    def measured(self) -> bool:
        """Whether there is an evaluation to speak of."""
        return bool(self.split)

    @property
    def with_logits(self) -> bool:
        """Whether there are the logits of an evaluation: what speaks of classes needs them."""
        return len(self.logits) > 0

    @property
    def sets(self) -> bool:
        """Whether labels are sets: several a picture, or none."""
        return self.label.ndim == 2

    @property
    def choosing(self) -> tuple[Figure, ...]:
        """The figures by which the task ranks checkpoints, the first one first; () where it has none."""
        return self.meta.figures

    @property
    def chosen_by(self) -> Figure | None:
        """The one of `choosing` that config.eval.best names, else the first."""
        best = self.config.get("eval", {}).get("best")
        return next((figure for figure in self.choosing if figure.name == best), next(iter(self.choosing), None))

    @property
    def selected(self) -> bool:
        """Whether a validation split chose the checkpoint: one of the figures that can was measured there."""
        names = {figure.name for figure in self.choosing}
        there = [self.figures] if self.split == "validation" else []
        there += [line for line in self.lines if line.get("split") == "validation"]
        return any(names & values.keys() for values in there)

    @functools.cached_property
    def tree(self) -> hierarchy.ClassTree | None:
        """The tree of the run's classes; None where it has none."""
        return hierarchy.of_run(self.workdir, self.classes) if self.classes else None

    @functools.cached_property
    def measured_figures(self) -> Figures:
        """measure.figures.figures of the split, "tree" (measure.hierarchy) with one, and what was recorded beside."""
        if not self.with_logits:
            return self.recorded
        if self.sets:
            return {**set_figures.figures(self.logits, self.label, self.classes), **self.recorded}
        by_tree = {}
        if self.tree is not None:
            stated = self.probability if self.calibrated is None else self.calibrated
            by_tree["tree"] = hierarchy.figures(stated, self.label, self.tree)
        return {**figures.figures(self.logits, self.label, self.classes), **by_tree, **self.recorded}

    @functools.cached_property
    def figures(self) -> Figures:
        """`measured_figures` as the page takes them: `per_class` is a dict a class, with the names that are shown."""
        return self._shown(self.measured_figures)

    @functools.cached_property
    def figures_of_sets(self) -> Figures:
        """As `figures`, of the classes that the stored decision names; those of `figures` without one."""
        if not self.decision:
            return self.figures
        return self._shown(set_figures.figures(self.logits, self.label, self.classes, self.decision))

    @functools.cached_property
    def said_of_sets(self) -> tuple[Float[np.ndarray, "n classes"], Answers]:
        """(calibrated probability of every class, what is named) where labels are sets."""
        return set_figures.answered(self.logits, self.label, self.decision)

    def _shown(self, found):
        if not self.with_logits:
            return found
        rows = figures.by_row({**found["per_class"], "name": list(self.shown)})
        return {**found, "per_class": rows, "nonfinite": found["not_finite"]}

    @functools.cached_property
    def shown(self) -> tuple[str, ...]:
        """The classes' names as a page can show them (markup.label)."""
        return tuple(map(shown_name, self.classes))

    @functools.cached_property
    def probability(self) -> Softmax:
        """As the model states them; NaN in rows that are not finite."""
        return Softmax(self.logits)

    @property
    def predicted(self) -> Int[np.ndarray, " n"]:
        """The first class; -1 where a row is not finite."""
        return self.probability.answer

    @property
    def confidence(self) -> Float[np.ndarray, " n"]:
        """The probability of the first class; NaN where a row is not finite."""
        return self.probability.confidence

    @functools.cached_property
    def temperature(self) -> float | None:
        """The calibrated one, or the one that fits validation; None where there is no validation to fit it on."""
        if self.decision:
            return float(self.decision["temperature"])
        if self.validation is None:
            return None
        return calibration.fit_temperature(self.validation.logits, self.validation.label)

    @functools.cached_property
    def calibrated(self) -> Softmax | None:
        """`probability` at that temperature."""
        return None if self.temperature is None else Softmax(self.logits, self.temperature)

    @property
    def groups(self) -> list[Any] | None:
        """The group of every evaluated row, where config.data.group_by, or the set, says what belongs together.

        None where no two pictures share one (`lone_groups`): then they tell nothing.
        """
        values = self._groups()
        return None if values is None or figures.lone(values) else values

    @property
    def lone_groups(self) -> bool:
        """Whether config.data.group_by gave every picture a group of its own."""
        values = self._groups()
        return values is not None and figures.lone(values)

    def _groups(self):
        rows = self.rows or {}
        values, grouped = rows.get("columns", {}).get("group"), rows.get("grouped")
        grouped = grouped or self.config.get("data", {}).get("group_by")
        if not grouped or values is None or len(values) <= int(self.index.max()):
            return None
        return [values[row] for row in self.index]

    def name(self, label: int) -> str:
        """A class's name; "no class" for -1."""
        return self.shown[label] if label >= 0 else "no class (not a number)"

    def identifier(self, i: int) -> str:
        """What the picture of evaluated row i is called."""
        row = int(self.index[i])
        ids = (self.rows or {}).get("id", ())
        return str(ids[row]) if row < len(ids) else f"{self.split} picture {row}"


def read(workdir: PathLike, split: str | None = None, step: int | None = None) -> Evidence:
    """Reads the evidence of a run.

    Args:
      workdir: of the run.
      split: None for test where it was evaluated, else validation.
      step: None for the step of the result (`measure.stored.final_step`), else the newest that was evaluated.

    Raises:
      UserError: if the workdir holds no run, the evaluation asked for is not there, or a file is damaged.
    """
    workdir = Path(workdir)
    config, lines = files.read_json(workdir / "config.json", strict=True), read_metrics(workdir)
    split, step = _choose(workdir, split, step)
    if config is None and not lines and not split:
        raise UserError(f"{workdir} holds no run: neither config.json nor metrics.jsonl nor eval/ is there")
    meta = _meta(workdir, step)
    evidence = Evidence(workdir, lines=lines, meta=meta)
    evidence.config, evidence.classes = config or dict(meta.config), meta.classes
    if not split:
        return evidence
    evidence.split, evidence.step = split, step
    evidence.rows = files.read_json(workdir / "eval" / f"{split}-rows.json", strict=True)
    if split not in stored.SPLITS:
        recorded = stored.read_figures(workdir, split, step)
        evidence.about = {key: recorded[key] for key in ("data", "overlap", "classes", "unseen") if key in recorded}
    if stored.has_logits(workdir, split, step):
        _read_logits(evidence)
    else:
        evidence.recorded = stored.read_figures(workdir, split, step)
    return evidence


def _read_logits(evidence):
    """Puts in the predictions of the split, and what was made of those of validation."""
    workdir, split, step = evidence.workdir, evidence.split, evidence.step
    evidence.logits, evidence.label, evidence.index = stored.read_answers(workdir, split, step)
    if len(evidence.classes) != evidence.logits.shape[1]:
        evidence.classes = _names(range(evidence.logits.shape[1]))
    beside = stored.read_figures(workdir, split, step)
    computed = {figure.name for figure in (SETS if evidence.sets else CLASSIFICATION)}
    own = (figure.name for figure in evidence.choosing if figure.name not in computed)
    evidence.recorded = {name: beside[name] for name in own if name in beside}
    evidence.importance = beside.get(IMPORTANCE) or {}
    evidence.decision = decision.read(workdir, step)
    if evidence.decision and decision.of_sets(evidence.decision) != evidence.sets:
        kind = "sets of labels" if not evidence.sets else "one label a picture"
        raise UserError(
            f"{decision.path(workdir, step)} is for {kind}, which these predictions do not have; make it anew with "
            f"`jaxcls calibrate {workdir} --apply`"
        )
    if split != "validation" and stored.has_logits(workdir, "validation", step):
        evidence.validation = stored.read_answers(workdir, "validation", step)


def _names(values):
    return tuple(map(str, values))


def _choose(workdir, split, step):
    """(split, step) of the evaluation to show; ("", None) where there is none."""
    splits = [split] if split else ["test", "validation"]
    wanted = step if step is not None else stored.final_step(workdir)
    for name in splits:
        there = stored.evaluations(workdir, name)
        if wanted in there:
            return name, wanted
        if there and step is None:
            return name, there[-1]
    if split or step is not None:
        name = splits[0]
        stored.read_answers(workdir, name, wanted if wanted is not None else 0)  # raises: says what there is
    return "", None


def _meta(workdir, step):
    """The metadata of a step's checkpoint, of the newest one where that is gone, of the first fold where there are
    folds, NOTHING where there is none."""
    workdir = next(iter(folds.workdirs(workdir)), workdir)
    for number in (step, None):
        try:
            return view.read_meta(view.find_step(workdir, number))
        except UserError:
            continue
    return NOTHING
