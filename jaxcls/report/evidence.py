"""What a report is made of: the files that a run and its evaluation left in the workdir, read once."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxcls import files
from jaxcls.checkpoints import view
from jaxcls.errors import UserError
from jaxcls.logs.records import read_metrics
from jaxcls.measure import calibration, decision, figures, stored
from jaxcls.types import Figures, PathLike


@dataclasses.dataclass
class Evidence:
    """A run and one evaluation of it.

    Attributes:
      workdir: folder of the run.
      split, step: of the evaluation; "" and None where nothing was evaluated.
      logits, label, index: the stored predictions (measure.stored); empty without an evaluation.
      classes: names.
      meta: the JSON item of the step's checkpoint, or of another step's where that is gone; {} without any.
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
    classes: tuple[str, ...] = ()
    meta: dict[str, Any] = dataclasses.field(default_factory=dict)
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    lines: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    rows: dict[str, Any] | None = None
    decision: dict[str, Any] | None = None
    validation: stored.Logits | None = None

    @property
    def measured(self) -> bool:
        """Whether there are predictions to speak of."""
        return bool(self.split)

    @property
    def selected(self) -> bool:
        """Whether a validation split chose the checkpoint."""
        return self.split == "validation" or any(line.get("split") == "validation" for line in self.lines)

    @functools.cached_property
    def figures(self) -> Figures:
        """measure.figures.figures of the split."""
        return figures.figures(self.logits, self.label, self.classes)

    @functools.cached_property
    def probability(self) -> Float[np.ndarray, "n classes"]:
        """As the model states them."""
        return calibration.probabilities(self.logits)

    @functools.cached_property
    def predicted(self) -> Int[np.ndarray, " n"]:
        """The first class; -1 where a logit is NaN."""
        return figures.predict(self.logits)

    @functools.cached_property
    def confidence(self) -> Float[np.ndarray, " n"]:
        """The probability of the first class; NaN where a logit is."""
        return self.probability.max(axis=1)

    @functools.cached_property
    def temperature(self) -> float | None:
        """The calibrated one, or the one that fits validation; None where there is no validation to fit it on."""
        if self.decision:
            return float(self.decision["temperature"])
        if self.validation is None:
            return None
        return calibration.fit_temperature(self.validation.logits, self.validation.label)

    @functools.cached_property
    def calibrated(self) -> Float[np.ndarray, "n classes"] | None:
        """`probability` at that temperature."""
        return None if self.temperature is None else calibration.probabilities(self.logits, self.temperature)

    @property
    def groups(self) -> list[Any] | None:
        """The group of every evaluated row, where config.data.group_by says which pictures belong together."""
        values = (self.rows or {}).get("columns", {}).get("group")
        if not self.config.get("data", {}).get("group_by") or values is None or len(values) <= int(self.index.max()):
            return None
        return [values[row] for row in self.index]

    def name(self, label: int) -> str:
        """A class's name; "no class" for -1."""
        return self.classes[label] if label >= 0 else "no class (not a number)"

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
    evidence = Evidence(workdir, config=config or meta.get("config", {}), lines=lines, meta=meta)
    evidence.classes = _names(meta.get("classes", ()))
    if not split:
        return evidence
    evidence.split, evidence.step = split, step
    evidence.logits, evidence.label, evidence.index = stored.read_logits(workdir, split, step)
    if len(evidence.classes) != evidence.logits.shape[1]:
        evidence.classes = _names(range(evidence.logits.shape[1]))
    evidence.rows = files.read_json(workdir / "eval" / f"{split}-rows.json", strict=True)
    evidence.decision = decision.read(workdir, step)
    if split != "validation" and step in stored.steps(workdir, "validation"):
        evidence.validation = stored.read_logits(workdir, "validation", step)
    return evidence


def _names(values):
    return tuple(map(str, values))


def _choose(workdir, split, step):
    """(split, step) of the evaluation to show; ("", None) where there is none."""
    splits = [split] if split else ["test", "validation"]
    wanted = step if step is not None else stored.final_step(workdir)
    for name in splits:
        there = stored.steps(workdir, name)
        if wanted in there:
            return name, wanted
        if there and step is None:
            return name, there[-1]
    if split or step is not None:
        name = splits[0]
        stored.read_logits(workdir, name, wanted if wanted is not None else 0)  # raises: says what there is
    return "", None


def _meta(workdir, step):
    """The metadata of a step's checkpoint, of the newest one where that is gone, {} where there is none."""
    for number in (step, None):
        try:
            return view.read_meta(view.find_step(workdir, number))
        except UserError:
            continue
    return {}
