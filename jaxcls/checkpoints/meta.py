"""The JSON item of a checkpoint: all that is needed to inspect, evaluate or serve it with nothing else.

`Meta` is the contract with whatever comes after training. Nobody else knows how it is written: `Meta.to_json` writes
it, `from_json` reads it, of every version that there was.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from jaxcls.criteria import CLASSIFICATION, Figure
from jaxcls.errors import UserError

NESTED = ("config", "normalize", "metrics", "data", "versions", "loop")
VERSION = 2  # 1: without a number, without `answer` and `figures`; what answers followed from the names of the tensors


@dataclasses.dataclass(frozen=True)
class Answer:
    """What answers, of everything that a checkpoint holds, and what its answer means; plain values.

    Attributes:
      names: each variable of the model ("params/fc/kernel", "batch_stats/bn1/mean") -> the stored array it is read from
        (`Task.answering`).
      raw: the same without averages; {} where there are none.
      model: {"name", "num_classes", "neck", "fields"} of `models.create`, "kept" of a pruned one; None where no
        registered model answers, and then `problem` says why not.
      precision: of the computation.
      output: "softmax", "sigmoid" or "features" (`tasks.base`).
      views, mean: test-time augmentation (`tasks.tta`).
      preprocessing: `augment.preprocessing.Preprocessing`.
    """

    names: Mapping[str, str]
    raw: Mapping[str, str]
    model: Mapping[str, Any] | None
    precision: str
    output: str
    views: tuple[str, ...]
    mean: str
    preprocessing: Mapping[str, Any]
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Meta:
    """What is known of a checkpoint beside its arrays; plain values.

    Attributes:
      step: of the checkpoint.
      config: of the run, whole.
      model: the model's name.
      parameters: how many are trained.
      classes: their names, in the order of the logits.
      normalize: {"mean", "std"} of pictures on the scale of [0, 1].
      metrics: "validation_<name>" -> figure at this step; {} where it was not evaluated.
      data: {"name", "fingerprint" (of the training pictures), "picture" ([h, w, c] of a set kept in memory, or None),
        "resample" (of random crops on the host, or None)}.
      versions: of what the result depends on.
      loop: what the loop goes on with.
      pretrained: the weights that the run began with; None without.
      figures: those that may choose a checkpoint, the first one first; in version 1 those of classification.
      answer: Answer; None in version 1.
      averaged: how averages were made of checkpoints; None where they were not.
      version: of this format.
    """

    step: int
    config: Mapping[str, Any]
    model: str = ""
    parameters: int = 0
    classes: tuple[str, ...] = ()
    normalize: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    loop: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    pretrained: str | None = None
    figures: tuple[Figure, ...] = ()
    answer: Answer | None = None
    averaged: Mapping[str, Any] | None = None
    version: int = VERSION

    def to_json(self) -> dict[str, Any]:
        """As plain dicts and lists. What is not known is left out."""
        item = {**dataclasses.asdict(self), "figures": [figure._asdict() for figure in self.figures]}
        optional = ("answer", "averaged")
        return json.loads(json.dumps({k: v for k, v in item.items() if v is not None or k not in optional}))


def from_json(item: Any, what: str) -> Meta:
    """The Meta that an item holds; `what` is what messages call it.

    Raises:
      UserError: where it is no item, or of a version that is not known.
    """
    if not isinstance(item, dict):
        raise UserError(f"{what}: is damaged; choose another step")
    version = item.get("version", 1)
    if type(version) is not int or not 1 <= version <= VERSION:
        raise UserError(
            f"{what}: it is in version {version!r} of the format, and this program reads up to {VERSION}; upgrade it"
        )
    known = {field.name for field in dataclasses.fields(Meta)}
    given = {key: value for key, value in item.items() if key in known and value is not None}
    try:
        if bad := [key for key in NESTED if not isinstance(given.get(key, {}), Mapping)]:
            raise TypeError(f"{bad[0]} is {given[bad[0]]!r}")
        answer = given.pop("answer", None)
        if answer is not None:
            given["answer"] = Answer(**{**answer, "views": tuple(answer["views"])})
        given["classes"] = tuple(map(str, given.get("classes", ())))
        figures = tuple(Figure(**figure) for figure in given.get("figures", ()))
        given["figures"] = CLASSIFICATION if version == 1 else figures
        return Meta(**{"step": -1, "config": {}, **given, "version": version})
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"{what}: is damaged ({error}); choose another step") from error


def names_of_version_1(names: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """(`Answer.names`, `Answer.raw`) of a step of version 1, by the names of everything that it holds.

    An average lay under extra/ema/, and projections that distillation trained under params/hints/.
    """

    def below(start):
        inner = {
            name.removeprefix(start): name for name in names if name.startswith((f"{start}params/", f"{start}model_"))
        }
        return {key.removeprefix("model_state/"): name for key, name in inner.items() if key[:13] != "params/hints/"}

    names = tuple(names)
    plain, average = below(""), below("extra/ema/")
    return (average, plain) if average else (plain, {})


NOTHING = Meta(step=-1, config={}, figures=CLASSIFICATION, version=1)  # what is known of a checkpoint that is gone
