"""The card of a model for those who find it on the Hugging Face hub: figures, limits, licence, how it is loaded.

The form is the hub's (https://huggingface.co/docs/hub/model-cards): YAML between lines of dashes, then Markdown.
"""

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any

from jaxcls.checkpoints import view
from jaxcls.errors import UserError
from jaxcls.report import evidence, notices, overview
from jaxcls.report.answered import answered
from jaxcls.report.multilabel import overview as of_sets
from jaxcls.types import PathLike

NOTHING = "Nothing was measured of these weights."
LIKE_THESE = "All of this holds for pictures like those it was measured on: same kind of camera, light and subjects."
_REPORT = re.compile("; see Probabilities( for what calibration makes of it)?")  # a section, which a card has not
_FIGURES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro.f1": "F1, macro",
            "mAP": "mean average precision", "ece": "calibration error", "loss": "negative log-likelihood"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Told:
    """What the evaluation of a step shows.

    Attributes:
      verdict: how good it is, in sentences; "" where nothing was measured.
      limits: sentences, "Before you rely on it".
      figures: (name, value, 95 % interval or "") in words; `on`: the pictures they are of.
    """

    verdict: str = ""
    limits: Sequence[str] = (NOTHING,)
    figures: Sequence[tuple[str, str, str]] = ()
    on: str = ""


@dataclasses.dataclass(frozen=True)
class Card:
    """What a card says besides the figures.

    Attributes:
      repo: ORG/NAME on the hub; model: name, library whose names the tensors bear.
      classes: their names, in order.
      started: what it started from; licence: as the hub calls it; "" for either where it is not known.
      transforms, mean, std: what is done to a picture.
      step: of the checkpoint; averaged: whether the weights are averages.
      version: of jaxcls.
    """

    repo: str
    model: str
    library: str
    classes: Sequence[str]
    started: str
    licence: str
    transforms: Sequence[str]
    mean: Sequence[float]
    std: Sequence[float]
    step: int
    averaged: bool
    version: str


def told(workdir: PathLike, step: int) -> Told:
    """What was measured of a step of a run, as its report says it."""
    try:
        read = evidence.read(workdir, step=step)
    except UserError:
        return Told()
    if not read.with_logits:
        return Told()
    if read.sets:
        found = read.figures_of_sets
        verdict, cautions = of_sets.verdict(read, found), [*of_sets.cautions(read, found)]
    else:
        found = answered(read)
        verdict, cautions = overview.verdict(read, found), overview.cautions(read, found)
    first = (notices.unfinished(read), notices.not_finite(read), notices.groups(read))
    limits = [*filter(None, first), *cautions, LIKE_THESE]
    return Told(
        verdict=verdict,
        limits=[_REPORT.sub("", line).replace(str(read.workdir), "RUN") for line in limits],
        figures=list(_figures(found)),
        on=f"{found['count']:,} {read.split} pictures",
    )


def _figures(found):
    flat = view.flatten_config(found)
    for key, title in _FIGURES.items():
        if not isinstance(value := flat.get(key), float):
            continue
        interval = found["interval"] if key in ("accuracy", "mAP") else None
        yield title, f"{value:.4f}", "{:.4f} to {:.4f}".format(*interval) if interval else ""


def text(card: Card, told: Told) -> str:
    """The card, README.md."""
    parts = [_front(card), f"# {card.repo.rpartition('/')[2]}", _about(card), "## Figures"]
    if told.figures:
        rows = "\n".join(f"| {name} | {value} | {between} |" for name, value, between in told.figures)
        parts += [told.verdict, f"On {told.on}:", f"| figure | value | 95 % interval |\n|---|---|---|\n{rows}"]
    else:
        parts += [NOTHING]
    parts += ["## Before you rely on it", "\n".join(f"- {line}" for line in told.limits)]
    parts += ["## Licence", _licence(card), "## Pictures", _pictures(card), "## How it is loaded", _loading(card)]
    return "\n\n".join(parts) + "\n"


def _front(card):
    entries: dict[str, Any] = {
        "library_name": "jaxcls",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "jaxcls", card.model],
    }
    if card.licence:
        entries["license"] = card.licence
    if card.started.count("/") == 1:
        entries["base_model"] = card.started
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in entries.items()), "---"])


def _about(card):
    weights = "averaged over training" if card.averaged else "as trained"
    started = f"It was fine-tuned from `{card.started}`." if card.started else "It was trained from scratch."
    shown = ", ".join(card.classes[:20]) + (f" and {len(card.classes) - 20:,} more" if len(card.classes) > 20 else "")
    return (
        f"`{card.model}`, weights {weights}, of step {card.step:,}. {started} "
        f"{len(card.classes):,} classes: {_plain(shown)}."
    )


def _licence(card):
    known = f"`{card.licence}`." if card.licence else "None was named: ask before you use it."
    if card.started:
        return f"{known} What it was fine-tuned from, `{card.started}`, and the pictures have terms of their own."
    return f"{known} The pictures that it was trained on have terms of their own."


def _pictures(card):
    steps = ", ".join(f"`{part}`" for part in card.transforms) or "as they are"
    mean, std = (", ".join(f"{x:g}" for x in values) for values in (card.mean, card.std))
    return f"{steps}, then (pixel / 255 - mean) / std with mean {mean} and std {std}; bilinear, antialiased."


def _loading(card):
    lines = [
        "```",
        f"jaxcls train --config=finetune --data=PICTURES --config.model.pretrained=hf-hub:{card.repo}",
        f"jaxcls eval --model {card.model} --weights hf-hub:{card.repo} --data PICTURES",
        "```",
        "",
        f"The tensors of `model.safetensors` bear the names of {card.library}; where that has the net, its "
        "`load_state_dict` takes them. Classes, fields of the model and normalisation are in the file's metadata and "
        f"in `config.json`. Written by jaxcls {card.version}.",
    ]
    return "\n".join(lines)


def _plain(words):
    """Class names as Markdown shows them: nothing of them is markup."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>()#+!|~" else c for c in " ".join(words.split()))
