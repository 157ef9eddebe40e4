"""What a run can't do whose net looks at a graph, and not at the picture that it lies beside."""

from typing import Any

from jaxcls.data.base import leaves
from jaxcls.errors import UserError
from jaxcls.tasks import base
from jaxcls.training.data import Data


def check(config: Any, module: Any, data: Data) -> None:
    """Raises UserError where a net of graphs is on data without any, or with settings that change or compare pictures:
    they would have no effect, or none that reaches the net."""
    if "nodes" not in getattr(module, "inputs", ()):
        return
    there = leaves(next(iter(data.sources.values())))
    if lacking := [name for name in module.inputs if name not in there]:
        raise UserError(f"{data.name}: {base.lacking(module, lacking[0])}")
    name = config.model.name
    for key in ("augment", "augment_second", "resize_schedule"):
        if given := tuple(getattr(config.data, key)):
            raise UserError(
                f"config.data.{key}={given} does not reach the graph, all that {name} sees; leave it empty."
            )
    for setting, given in {
        f"config.ssl.method={config.ssl.method!r}": config.ssl.method,
        f"config.few.method={config.few.method!r}": config.few.method,
        f"config.words.method={config.words.method!r}": config.words.method,
        f"config.distill.teacher={config.distill.teacher!r}": config.distill.teacher,
        f"config.model.quantize={config.model.quantize!r}": config.model.quantize,
        f"config.eval.tta={tuple(config.eval.tta)}": tuple(config.eval.tta),
        f"config.prune.ratio={config.prune.ratio}": config.prune.ratio,
        "config.nas": tuple(config.nas.stages),
    }.items():
        if given:
            raise UserError(f"{setting} is for nets of pictures, and {name} looks at a graph; leave it out.")
