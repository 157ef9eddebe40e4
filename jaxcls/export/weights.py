"""`jaxcls export --to weights`: the weights of a run, or of a published file, as a state dict for PyTorch."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcls.checkpoints import view
from jaxcls.data import class_names
from jaxcls.models import conversion, weight_files
from jaxcls.models.base import Classifier
from jaxcls.models.state_dict import to_state_dict
from jaxcls.tasks import networks
from jaxcls.training import run_weights
from jaxcls.types import Note, PathLike


class State(NamedTuple):
    """A state dict as the model names it, what a safetensors file says of it, and what it is in words."""

    model: Classifier
    tensors: Mapping[str, np.ndarray]
    metadata: dict[str, str]
    what: str


def of_run(run: PathLike, step: int | None = None, *, raw: bool = False) -> State:
    """That of a checkpoint. Of a run of config.ssl it is the encoder alone: its heads and its last layer, a probe,
    are left out. Raises UserError where it can't be read."""
    network = networks.from_run(run, step, raw=raw)
    mean, std = network.normalize
    kind = "averaged (EMA)" if network.averaged else "raw"
    metadata = {
        "model": network.name,
        "step": str(network.step),
        "weights": kind,
        "classes": json.dumps(network.classes),
        "normalize": json.dumps({"mean": mean, "std": std}),
        "eval_transform": json.dumps(network.preprocessing.transforms),
        "fields": conversion.fields_of(network.name, network.model),
    }
    tensors, what = to_state_dict(network.variables), f"{kind} weights of step {network.step}"
    if run_weights.learned_from_views(view.best_step(run) if step is None else view.find_step(run, step)):
        tensors, layer = run_weights.encoder(network, tensors), network.model.head[0]
        del metadata["classes"]
        what += f"; the encoder alone: its library loads it with strict=False, {layer} then stays as it was"
    return State(network.model, tensors, metadata, what)


def of_file(
    source: str,
    name: str,
    *,
    classes: int | str | None = None,
    size: int | None = None,
    channels: int | None = None,
    fields: Sequence[str] = (),
) -> State:
    """That of a published file for a registered model.

    Args:
      source: the file, or hf-hub:ORG/NAME.
      name: of the model.
      classes: how many, or a file with their names; None for the published number.
      size, channels, fields: as `conversion.read_published` takes them.

    Raises:
      UserError: where the file can't be read or does not fit.
    """
    number = len(class_names.read(classes)) if isinstance(classes, str) else classes
    model, tensors, metadata = conversion.read_published(
        source, name, classes=number, size=size, channels=channels, fields=fields
    )
    return State(model, tensors, metadata, f"{name} from {source}")


def write(state: State, out: Path, *, dtype: str | None = None, note: Note = print) -> None:
    """Writes the names and layouts of the model's library, and tells what is in the file.

    Args:
      state: what is written.
      out: safetensors, .pth or .pt.
      dtype: of all floating-point values; None: as they are.
      note: where the line goes.

    Raises:
      UserError: for another suffix, numbers too large for the dtype, or a file that can't be written.
    """
    tensors = state.model.for_library(state.tensors)
    if dtype:
        tensors = conversion.cast(tensors, dtype)
    weight_files.write(out, tensors, {"format": "pt", **state.metadata}, state.model.versions)
    dtypes = ", ".join(sorted({str(value.dtype) for value in tensors.values()}))
    size = sum(value.nbytes for value in tensors.values()) / 2**20
    count = sum(value.size for value in tensors.values())
    note(f"{out}: {len(tensors)} tensors, {count:,} numbers, {size:.1f} MiB, {dtypes}; {state.what}")
