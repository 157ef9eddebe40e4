"""The model of a run (`Model`): the Linen module, how to build it again, and what it starts with."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from jaxcls import columns, models, optim
from jaxcls.errors import UserError
from jaxcls.models import field_checks, stages
from jaxcls.models.basis import Use
from jaxcls.nas.space import MODEL
from jaxcls.parallel import Parallel
from jaxcls.prune import build as pruned
from jaxcls.prune import kept as keeping
from jaxcls.quantize import build as quantised
from jaxcls.training import architecture, clips, graphs, pruning
from jaxcls.training.data import Data
from jaxcls.types import PathLike

REQUIRED = "required"  # as config.model.pretrained: a recipe that is none without weights
PRECISIONS = ("float32", "bfloat16", "float16")


@dataclasses.dataclass(frozen=True)
class Model:
    """The model of a run; `read` makes it of a config.

    Attributes:
      module: the Linen module.
      spec: {"name", "num_classes", "neck", "fields"} of `models.create`, "columns" where it takes some,
        "kept" where channels are gone, "quantize" where it is trained for INT8.
      precision: of the computation.
      axis_name: the mapped axis over which a task talks with other devices (pmap); None under jit.
      data: whose pictures it sees.
      pretrained: weights to start from, a file or a run; "" for none.
      whiten: whether the first convolution is made of training pictures.
    """

    module: Any
    spec: dict[str, Any]
    precision: str
    axis_name: str | None
    data: Data
    pretrained: str = ""
    whiten: bool = False

    @property
    def name(self) -> str:
        """As the registry has it."""
        return self.spec["name"]

    def layers(self) -> list[str]:
        """Names of the parameters in the order in which a forward pass comes to them (optim.call_order)."""
        return optim.call_order(self.module, self._batch)

    @functools.cached_property
    def parts(self) -> dict[str, str]:
        """Parameter name -> the part of the model it belongs to (stages.parts)."""
        return stages.parts(self.module, self._batch)

    @property
    def use(self) -> Use:
        """What weights are put to, to be compared with what their source says."""
        mean, std = self.data.normalize
        return Use(self.name, mean, std, self.data.evaluation.transforms, tuple(map(str, self.data.classes)))

    @property
    def _batch(self):
        return jax.ShapeDtypeStruct((2, *self.data.picture), np.float32)


def read(config: Any, data: Data, parallel: Parallel, workdir: PathLike | None = None) -> Model:
    """The Model of a config; what is kept of it is noted in the config. `workdir`: where the run may have begun.

    Raises:
      UserError: for a model that can't be, or settings of it that do not go together.
    """
    section = config.model
    if section.pretrained == REQUIRED:
        raise UserError(required())
    if config.precision not in PRECISIONS:
        raise UserError(f"config.precision is {config.precision!r}; it can be {', '.join(PRECISIONS)}.")
    # no probe of pictures without labels; captions are learnt from without classes
    classes = 0 if config.words.method or (config.ssl.method and not data.labelled) else len(data.classes)
    spec = {"name": section.name, "num_classes": classes, "neck": section.neck}
    if data.columns:
        spec |= {"neck": section.neck or "columns", "columns": columns.to_json(data.columns)}
    spec["fields"] = section.fields.to_dict()
    field_checks.refuse_reserved(spec["fields"])
    module = models.create(
        spec["name"],
        num_classes=spec["num_classes"],
        neck=spec["neck"],
        columns=spec.get("columns", ()),
        dtype=config.precision,
        axis_name=parallel.batch_norm(config.parallel.batch_norm, config.batch_size // config.accumulate),
        **spec["fields"],
    )
    clips.check_model(section.name, module, data.evaluation.clips)
    graphs.check(config, module, data)
    if tuple(config.nas.stages) and section.name == MODEL:  # another one is told by `architecture.check`
        module = architecture.supernet(config, module, data.picture)
    if kept := pruning.kept(config, module, data, workdir):
        module, spec["kept"] = pruned.of_module(module, kept), kept
        config.config.model.kept = keeping.lines(kept)
    if section.quantize:
        module, spec["quantize"] = quantised.of_module(module, section.quantize), section.quantize
        quantised.check(module, config.precision, data.picture)
    if section.whiten:
        check_whitening(section.name, module, section.pretrained, data)
    return Model(
        module=module,
        spec=spec,
        precision=config.precision,
        axis_name=parallel.axis_name,
        data=data,
        pretrained=section.pretrained,
        whiten=section.whiten,
    )


def required() -> str:
    """The line for a config that does not start without weights."""
    return (
        "this config starts from published weights and none are named; add --config.model.pretrained=NAME (such as "
        "resnet50.a1_in1k: jaxcls models --pretrained lists them; or a file, hf-hub:ORG/NAME, a run's workdir), or use "
        "--config=folder to train from scratch."
    )


def check_whitening(name: str, module: Any, pretrained: str, data: Data) -> None:
    """Raises UserError where config.model.whiten has nothing to fill, or nothing to fill it from."""
    if not hasattr(module, "whitened"):
        raise UserError(f"config.model.whiten: {name} has no convolution for it; airbench94 has.")
    if pretrained:
        raise UserError("config.model.whiten and config.model.pretrained both set the first convolution; choose one.")
    if not hasattr(data.sources["train"], "arrays"):
        raise UserError("config.model.whiten needs a set that is kept in memory, such as tfds/cifar10.")
