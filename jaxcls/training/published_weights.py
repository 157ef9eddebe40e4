"""A file of weights as a network that answers, without a run: the config for its pictures, and the network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcls import models
from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.models import pretrained, weight_files
from jaxcls.models.basis import UNKNOWN, Use
from jaxcls.models.published import FRAMES, KINETICS, PUBLISHED, Published
from jaxcls.tasks.networks import Network
from jaxcls.training import clips


def config_of(name: str, data: str, size: int = 0) -> ConfigDict:
    """The config for published weights of the model `name`: pictures of files as they are published for, or `size`.

    Of clips the frames of the middle, as many as it was trained with.
    """
    config = default_config()
    config.model.name, config.data.name = name, data
    known = PUBLISHED.get(name, Published(""))
    if data.startswith(("folder/", "clips/")) or size:
        size = size or known.size
        config.data.eval_transform = (f"resize({size * 8 // 7})", f"center_crop({size})")
    if data.startswith("clips/"):
        config.data.eval_transform = (f"frames({known.frames or FRAMES})", *config.data.eval_transform)
        config.data.mean, config.data.std = KINETICS
    if data.startswith("folder/"):
        config.data.normalize = "imagenet"
    return config


def network(
    path: str,
    reader: Any,
    preprocessing: Preprocessing,
    picture: tuple[int, ...],
    classes: Sequence[str],
    *,
    count: int,
    headless: bool = False,
    use: Use = UNKNOWN,
) -> tuple[Network, pretrained.Report]:
    """(the network of a file of weights, what became of its tensors).

    Args:
      path: the file, or `hf-hub:ORG/NAME`.
      reader: of the config, whose model, precision and views count.
      preprocessing: of pictures.
      picture: (height, width, channels) as the model sees them.
      classes: names in the order of the logits; () where they are unknown.
      count: of the logits.
      headless: whether the last layer may be missing, for features.
      use: how messages call the settings.

    Raises:
      UserError: for a file that is missing, damaged, not of this model, or lacks layers.
    """
    section = reader.model
    if Path(path).is_dir() and (Path(path) / "checkpoints").is_dir():
        raise UserError(f"{path} is the workdir of a run, whose model is known; give it alone.")
    model = models.create(section.name, num_classes=count, dtype=reader.precision, **section.fields.to_dict())
    clips.check_model(section.name, model, preprocessing.clips)
    file, image = weight_files.read(path), jax.ShapeDtypeStruct((2, *picture), np.float32)
    shapes = jax.eval_shape(lambda key, x: model.init(key, x, train=False), jax.random.key(0), image)
    use = use._replace(
        name=section.name,
        mean=preprocessing.mean,
        std=preprocessing.std,
        transforms=preprocessing.transforms,
        classes=tuple(classes),
    )
    weights, report = pretrained.match(model, shapes, file, use)
    layers = tuple(f"{layer}." for layer in model.head)
    if fresh := [name for name in report.kept if not (headless and name.startswith(layers))]:
        reason = report.kept[fresh[0]]
        raise UserError(f"{path} lacks {', '.join(sorted(fresh)[:3])} for {count:,} classes ({reason}).")
    variables = weights
    if headless:  # zeros for a last layer that is unused
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        variables = pretrained.merge(zeros, weights)
    found = Network(
        f"{section.name} from {path}",
        section.name,
        model,
        variables,
        tuple(classes),
        preprocessing,
        views=tuple(reader.eval.tta),
        mean=reader.eval.tta_mean,
        source={"model": section.name, "sha256": file.sha256},
    )
    return found, report
