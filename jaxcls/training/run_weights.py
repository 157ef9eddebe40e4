"""What config.model.pretrained names: a file of weights, or a run of ours, whose answering weights it then means."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxcls.checkpoints import folds, view
from jaxcls.models import conversion, weight_files
from jaxcls.models.origin import Says
from jaxcls.models.state_dict import to_state_dict
from jaxcls.models.weight_files import WeightFile
from jaxcls.prune.pruned import Pruned
from jaxcls.quantize.quantised import in_float
from jaxcls.tasks import networks
from jaxcls.types import PyTree

_OF_RUN = ("checkpoints", "state", "meta")  # in a workdir; in the folder of a step


def is_run(name: str | Path) -> bool:
    """Whether this is the workdir of a run (of a k-fold run, too), or the folder of one of its steps."""
    folder = os.path.expanduser(name)
    of_folds = os.path.isfile(os.path.join(folder, folds.FILE))
    return of_folds or any(os.path.isdir(os.path.join(folder, inner)) for inner in _OF_RUN)


def read(name: str | Path) -> WeightFile:
    """The weights of a file (`weight_files.read`) or of a run: those that answer, averaged where the run averages, of
    its best step, of the newest where none is best, or of the step whose folder is given.

    Those of a pruned run are at the sizes of its whole model, zeros where channels are gone. They bear the reference's
    names, as in the file that `jaxcls export --to weights` writes. The last layer of a run
    with config.ssl is a probe that watched it, never a classifier, and is left out.

    Raises:
      UserError: where there is no good checkpoint or no such file.
    """
    if not is_run(name):
        return weight_files.read(name)
    network = networks.from_run(name, what=f"config.model.pretrained {name}")
    folder = view.best_step(name)
    model, variables = whole(network)
    tensors, classes = to_state_dict(variables), network.classes
    note = f"of step {network.step}, {'averaged' if network.averaged else 'as trained'}"
    if learned_from_views(folder):
        tensors, classes = encoder(network, tensors), ()
        note += "; it learned from two views (config.ssl): its last layer, a probe, is left out"
    says = Says(
        where="its checkpoint",
        architecture=network.name,
        models=(network.name,),
        fields=json.loads(conversion.fields_of(network.name, model)),
        mean=tuple(network.preprocessing.mean),
        std=tuple(network.preprocessing.std),
        pictures=", ".join(network.preprocessing.transforms),
        transforms=tuple(network.preprocessing.transforms),
        classes=tuple(classes),
        note=note,
    )
    return WeightFile(str(name), view.manifest_path(folder), tensors, "", says)


def whole(network: networks.Network) -> tuple[Any, PyTree]:
    """(the Linen module of a network, its variables), with zeros for the channels of a pruned one that are gone."""
    model, variables = in_float(network.model, network.variables)
    if not isinstance(model, Pruned):
        return model, variables
    return model.module, model.large(variables, network.picture)


def kept_of(name: str | Path) -> dict[str, str]:
    """What is kept of the channels of a run; {} for all, and for what is no run."""
    return dict(spec_of(name).get("kept", {})) if name and is_run(name) else {}


def spec_of(name: str | Path) -> Mapping[str, Any]:
    """What builds the model of a run again (`Answer.model`); {} where it is not known. Raises UserError."""
    answer = view.read_meta(view.best_step(name)).answer
    return (answer.model or {}) if answer else {}


def learned_from_views(folder: Path) -> bool:
    """Whether a step's run is one of config.ssl: its last layer, if it has one, is a probe."""
    return bool(view.read_meta(folder).config.get("ssl", {}).get("method"))


def encoder(network: networks.Network, tensors: dict) -> dict:
    """The tensors of a network's state dict but those of its last layer."""
    layers = tuple(f"{layer}." for layer in network.model.head)
    return {name: value for name, value in tensors.items() if not name.startswith(layers)}
