"""The JSON item of a checkpoint: all that is needed to inspect, evaluate or serve it with nothing else."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jaxcls.types import Figures


def write(
    *,
    step: int,
    config: Mapping[str, Any],
    parameters: int,
    classes: Sequence[str],
    normalize: tuple[Sequence[float], Sequence[float]],
    validation: Figures,
    fingerprint: str,
    picture: Sequence[int] | None,
    versions: Mapping[str, Any],
    memory: Mapping[str, Any],
) -> dict[str, Any]:
    """The item, of plain values.

    Args:
      step: of the checkpoint.
      config: of the run, whole, as JSON has it.
      parameters: how many are trained.
      classes: their names, in the order of the logits.
      normalize: (mean, std) of pictures on the scale of [0, 1].
      validation: figures at this step; {} where it was not evaluated.
      fingerprint: of the training pictures.
      picture: (height, width, channels) where all have the same before any transform.
      versions: of what the result depends on.
      memory: what the loop goes on with.
    """
    return {
        "step": step,
        "config": config,
        "model": config["model"]["name"],
        "parameters": parameters,
        "classes": list(classes),
        "normalize": {"mean": list(normalize[0]), "std": list(normalize[1])},
        "metrics": {f"validation_{name}": value for name, value in validation.items()},
        "pretrained": memory.get("pretrained"),
        "data": {
            "name": config["data"]["name"],
            "fingerprint": fingerprint,
            "picture": None if picture is None else list(picture),
        },
        "versions": dict(versions),
        "loop": json.loads(json.dumps(memory)),
    }
