"""What a run is on the Hugging Face hub: model.safetensors, config.json in timm's form, a card."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxcls import __version__, files
from jaxcls.checkpoints import view
from jaxcls.errors import UserError
from jaxcls.export import weights as exported
from jaxcls.models import hub, origin
from jaxcls.models import weights as published
from jaxcls.models.published import PUBLISHED
from jaxcls.report import card
from jaxcls.tasks import networks
from jaxcls.training import run_weights
from jaxcls.types import PathLike

CARD = "README.md"
FILES = (hub.FILES[0], origin.CONFIG, CARD)


def write(run: PathLike, step: int | None, folder: Path, *, repo: str, licence: str = "") -> None:
    """Writes FILES of a checkpoint of a run into a folder.

    Args:
      run: its workdir; `step`: None for the best, else the newest one.
      folder: is made where it is not there.
      repo: ORG/NAME.
      licence: as the hub calls it; "" for that of the weights that the run started from.

    Raises:
      UserError: where the checkpoint can't be read, or is of a net that no name builds; or a file can't be written.
    """
    network = networks.from_run(run, step)
    spec = run_weights.spec_of(os.fspath(run))
    if odd := [
        what
        for key, what in (("kept", "pruned"), ("quantize", "trained for INT8"), ("neck", "with a neck"))
        if spec.get(key)
    ]:
        raise UserError(
            f"{run} is {odd[0]}: no library builds such a net by name; share what jaxcls export writes of it"
        )
    state, row = exported.of_run(run, step), started(view.best_step(run) if step is None else view.find_step(run, step))
    config = {**config_of(network, state.metadata), **({"license": licence} if licence else {})}
    exported.write(state, folder / FILES[0], note=lambda line: None)
    files.write_json(folder / FILES[1], config)
    mean, std = network.normalize
    about = card.Card(
        repo=repo,
        model=network.name,
        library=getattr(PUBLISHED.get(network.name), "library", "jaxcls"),
        classes=network.classes,
        started=row.location if row and not row.is_url else row.name if row else "",
        licence=licence or (row.licence if row and row.licence != "unknown" else ""),
        transforms=network.preprocessing.transforms,
        mean=mean,
        std=std,
        step=network.step,
        averaged=network.averaged,
        version=__version__,
    )
    with files.replacing(folder / CARD) as temporary:
        temporary.write_text(card.text(about, card.told(run, network.step)), encoding="utf-8")


def started(step: Path) -> published.Row | None:
    """The published weights that a step's run started from; None for others, and for none."""
    name = view.read_meta(step).config.get("model", {}).get("pretrained", "")
    return published.located(name.removeprefix(hub.PREFIX)) if "/" in name else published.rows().get(name)


def config_of(network: networks.Network, metadata: Mapping[str, str]) -> dict[str, Any]:
    """timm's `config.json`, with what it has no place for under "jaxcls"."""
    if network.preprocessing.clips:
        raise UserError(f"{network.title} takes clips, for which the hub's files of picture models have no place.")
    height, width, channels = network.picture
    mean, std = network.normalize
    form = r"resize\((\d+)(?:, *(\d+))?(?:, *resample='(\w+)')?\)"
    sizes = [re.fullmatch(form, part) for part in network.preprocessing.transforms]
    side = next((found for found in sizes if found), None)
    pictures = {
        "input_size": [channels, height, width],
        "interpolation": side[3] if side and side[3] else "bilinear",
        "crop_pct": round(height / int(side[1]), 4) if side else 1.0,
        "crop_mode": "squash" if side and side[2] else "center",
        "mean": [*mean] * (channels if len(mean) == 1 else 1),
        "std": [*std] * (channels if len(std) == 1 else 1),
        "num_classes": len(network.classes),
    }
    transforms = network.preprocessing.transforms
    if network.preprocessing.picture is not None:  # of a set of one size: other pictures are squeezed to it
        transforms = (f"resize({height}, {width})",)
    return {
        "architecture": network.name,
        "num_classes": len(network.classes),
        "label_names": [*network.classes],
        "pretrained_cfg": pictures,
        origin.OWN: {"model": network.name, "fields": json.loads(metadata["fields"]), "version": __version__,
                     "eval_transform": [*transforms]},
    }  # fmt: skip
