"""A model with published weights in one call, for Python: `module, variables, preprocessing = load("resnet50")`."""

import dataclasses
import functools
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from jaxcls.errors import UserError
from jaxcls.models import pretrained as published_weights
from jaxcls.models import weight_files, weights
from jaxcls.models.base import Classifier
from jaxcls.models.basis import Use
from jaxcls.models.origin import Says
from jaxcls.models.published import FRAMES, KINETICS, PUBLISHED
from jaxcls.models.registry import create
from jaxcls.types import Note, PyTree

if TYPE_CHECKING:
    from jaxcls.augment.preprocessing import Preprocessing


_SETTINGS = {"field": "{}={!r}", "model": "{!r}", "data": "{}={!r}"}  # how messages call what is to be changed


class Loaded(NamedTuple):
    """A Linen module, its variables as host arrays, and what it wants of pictures.

    `preprocessing.prepare(file's bytes or array)` gives uint8 [h, w, c], of clips [t, h, w, c],
    `preprocessing.device(batch of these)` what the module takes:
    `module.apply(variables, preprocessing.device(batch), train=False)`.
    """

    module: Classifier
    variables: PyTree
    preprocessing: "Preprocessing"


def load(
    name: str,
    *,
    pretrained: str | bool = True,
    num_classes: int | None = None,
    seed: int = 0,
    note: Note = print,
    **fields: Any,
) -> Loaded:
    """A registered model with weights.

    Args:
      name: of the model; or weights by name, such as "resnet50.a1_in1k" or "resnet50.IMAGENET1K_V2".
      pretrained: True: those that `name` says, of a model its usual ones; False: none; else a tag ("a1_in1k"), a
        member ("IMAGENET1K_V2"), a file, or "hf-hub:ORG/NAME".
      num_classes: None: as many as the weights are for; another number starts the last layer afresh.
      seed: of what is drawn.
      note: where lines go that should be known, such as a licence that forbids commercial use.
      fields: of the model, over those that the weights want.

    Raises:
      UserError: for names and weights that there are not, or that do not fit; no network.
    """
    row = weights.find(name) if name not in PUBLISHED else None
    if row is not None and pretrained is True:
        name, source = row.model, row.name
    else:
        name = row.model if row else name
        source = "" if pretrained is False else str(pretrained)
    if row is None and name not in PUBLISHED:
        create(name)  # says what there is
    found = weights.find(source, name) if source else None
    if source and found is None and not set("/.") & set(source) and not os.path.exists(source):
        raise UserError(weights.unknown(f"{name}.{source}", weights.of_model(name)))
    source = found.name if found else source
    file = weight_files.read(source) if source else None
    says = file.says if file else Says()
    if num_classes is None:
        num_classes = _classes(name, found.classes if found else None, file)
    module = create(name, num_classes=num_classes, **{**says.fields, **fields})
    preprocessing = _preprocessing(name, says, clips=module.clips)
    picture = np.zeros((1, *_shape(preprocessing)), np.float32)
    start = functools.partial(module.init, train=False)
    shapes = jax.eval_shape(start, jax.random.key(seed), picture)
    loaded: PyTree = {}
    if file is not None:
        use = Use(name, preprocessing.mean, preprocessing.std, preprocessing.transforms, (), **_SETTINGS)
        loaded, report = published_weights.match(module, shapes, file, use)
        for line in report.notes:
            note(f"{file.name}: {line}")
    there = traverse_util.flatten_dict(loaded)
    missing = traverse_util.flatten_dict(shapes).keys() - there.keys()

    def drawn(key):  # what the weights lack: the rest, and the pass over a picture, are not compiled
        flat = traverse_util.flatten_dict(start(key, picture))
        return {path: flat[path] for path in missing}

    first = jax.device_get(jax.jit(drawn)(jax.random.key(seed))) if missing else {}
    return Loaded(module, traverse_util.unflatten_dict({**first, **there}), preprocessing)


def _classes(name, told, file):
    """How many classes: what the table says, the file's names or its last layer, the published number."""
    if told is not None:
        return told
    if file is not None and file.says.classes:
        return len(file.says.classes)
    known = PUBLISHED.get(name)
    if known is None:
        raise UserError(f"how many classes {name} shall have is not known; give num_classes=")
    if file is not None:
        heads = {f"{layer}.bias" for layer in create(name).head}
        found = [value for key, value in file.tensors.items() if key.removeprefix("module.") in heads]
        return len(found[0]) if found else known.classes
    return known.classes


def _preprocessing(name, says, *, clips):
    from jaxcls.augment.preprocessing import Preprocessing

    known = PUBLISHED.get(name)
    size, channels = (known.size, known.channels) if known else (224, 3)
    mean, std = weights.NORMALIZE["imagenet"] if channels == 3 else ((0.5,), (0.5,))
    transforms = says.transforms or (f"resize({size * 8 // 7})", f"center_crop({size})")
    if clips:
        frames = known.frames if known else 0
        mean, std = KINETICS if frames and channels == 3 else (mean, std)
        transforms = (f"frames({frames or FRAMES})", *transforms)
    if says.mean:
        channels = len(says.mean) if len(says.mean) > 1 else channels
    found = Preprocessing(transforms, says.mean or mean, says.std or std, channels=channels)
    try:
        found.check()
    except UserError:  # they are of a set of one size, or of a later version
        return dataclasses.replace(found, transforms=(f"resize({size}, {size})",))
    return found


def _shape(preprocessing):
    frames = (FRAMES,) if preprocessing.clips else ()
    prepared = preprocessing.prepare(np.zeros((*frames, 64, 64, preprocessing.channels), np.uint8))
    raw = jax.ShapeDtypeStruct((1, *prepared.shape), np.uint8)
    return jax.eval_shape(preprocessing.device, raw).shape[1:]
