"""What is exported: the network of a run, or a registered model with weights of a file, or with drawn ones."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from jaxcls import models
from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.checkpoints import folds, view
from jaxcls.data import class_names
from jaxcls.errors import UserError
from jaxcls.export import pictures
from jaxcls.export.asked import Subject
from jaxcls.measure import decision
from jaxcls.models import weight_files
from jaxcls.models.base import Classifier
from jaxcls.models.basis import Use
from jaxcls.models.published import PUBLISHED, Published
from jaxcls.settings.reader import Reader, choose, resolve
from jaxcls.tasks import fold_networks, networks
from jaxcls.tasks.networks import Network
from jaxcls.training import data as data_part
from jaxcls.training import published_weights, same_run
from jaxcls.training.data import Data
from jaxcls.training.transforms import NORMALIZE
from jaxcls.types import Note, PathLike, PyTree

SMALL = 64  # pixels up to which a published size means a set kept in memory (CIFAR), whose pictures are not cropped
OPTIONS = Use(field="--field {}={}", model="--model {}", data="--{} {}")  # as messages call them


def of_run(path: PathLike, step: int | None = None, *, raw: bool = False, dtype: str | None = "float32") -> Subject:
    """The network of a run, and its pictures where they are here and still the run's.

    Args:
      path: its workdir, or the folder of one step; of a k-fold run all folds are one network.
      step: of a workdir; None for the best one, else the newest.
      raw: the weights themselves, where there is an average of them.
      dtype: of the computation; None for the run's.

    Raises:
      UserError: where there is no good checkpoint, or its model can't be built.
    """
    if parts := fold_networks.from_folds(path, step, raw=raw, dtype=dtype):
        return _of_folds(Path(path), [_for_inference(part) for part in parts])
    network = _for_inference(networks.from_run(path, step, raw=raw, dtype=dtype))
    networks.refuse_columns(network, "a file takes")
    workdir = view.find_workdir(path)
    folder = view.best_step(path) if step is None else view.find_step(path, step)
    if workdir is None and folder.parent.name == "checkpoints":
        workdir = folder.parents[1]
    place = workdir or folder
    data, why = _pictures(folder, workdir, network.step)
    title = f"{place}, step {network.step}"
    return Subject(network, title, place.resolve().name or "model", workdir, data, why)


def _of_folds(workdir, parts):
    """All folds of a k-fold run as one network. Each picture has trained some of them, so none is there to judge by."""
    whole = fold_networks.together(parts, decision.read(workdir, folds.STEP), workdir)
    why = "those of a k-fold run have trained its folds"
    return Subject(whole, whole.title, workdir.resolve().name or "model", workdir, None, why)


def _pictures(folder, workdir, step) -> tuple[Data | None, str]:
    """(those of the run's splits, ""), or (None, why not)."""
    try:
        config = Reader(resolve(ConfigDict(view.read_meta(folder).config, convert_dict=True)))
        data = data_part.read(config, trains=False, workdir=workdir)
        same_run.check_opened(data, workdir or folder, step, ("train", "validation"))
    except UserError as error:
        return None, str(error).splitlines()[0]
    return data, ""


def of_model(
    name: str,
    weights: str = "",
    *,
    classes: int | str | None = None,
    size: int | None = None,
    channels: int | None = None,
    fields: Sequence[str] = (),
    normalize: str = "",
    note: Note = print,
) -> Subject:
    """A registered model as it is published: resized, cropped and normalised pictures, weights of a file or drawn ones.

    Args:
      name: of the model.
      weights: the file, or `hf-hub:ORG/NAME`; "" for drawn ones.
      classes: how many, or a file with their names, one a line; None for what the weights say, else the published
        number.
      size, channels: of the pictures; None for the published ones.
      fields: of the model, as NAME=VALUE.
      normalize: one of training.transforms.NORMALIZE; "" for what the weights say, else ImageNet's.
      note: where lines go.

    Raises:
      UserError: for weights that can't be read or don't fit, or an option that can't be.
    """
    parsed: dict[str, Any] = dict(map(models.parse_field, fields))
    if models.create(name, **parsed).clips:  # a misspelt name is told first
        raise UserError(f"{name} takes clips, and which frames its weights do not say: export a run of it (RUN).")
    says = weight_files.read(weights).says if weights else None
    names = _names(classes, says.classes if says else (), PUBLISHED.get(name, Published("")).classes)
    preprocessing = _preprocessing(name, size, channels, normalize, says)
    if weights:
        config = published_weights.config_of(name, "folder/", size or 0)
        with config.model.fields.unlocked():
            config.model.fields.update(parsed)
        reader, picture = Reader(resolve(config)), _seen(preprocessing)
        network, report = published_weights.network(
            weights, reader, preprocessing, picture, names, count=len(names), use=OPTIONS
        )
        for line in str(report).splitlines():
            if not line.startswith("  assumed"):  # by names of the settings of a run
                note(line)
        if not normalize and not (says and says.mean and says.std):
            note("nothing says how its pictures were normalised: as ImageNet's are, is assumed (--normalize)")
    else:
        network = _drawn(name, names, preprocessing, parsed)
        note(f"{network.title}: it knows nothing; --weights FILE gives it what a file holds")
    network = _for_inference(network)
    return Subject(network, network.title, name)


def _for_inference(network):
    """The network with the model's own form for inference, where it has one."""
    if not isinstance(network.model, Classifier):  # it is wrapped
        return network
    model, variables = network.model.for_inference(network.variables)
    return dataclasses.replace(network, model=model, variables=variables)


def _names(classes, said, published):
    """Names of the outputs: of a file, of the weights, or class_0 and so on."""
    if isinstance(classes, str):
        return tuple(class_names.read(classes))
    if said and classes in (None, len(said)):
        return tuple(said)
    return tuple(f"class_{i}" for i in range(classes or published))


def _preprocessing(name, size, channels, normalize, says):
    """The published evaluation of a model's pictures."""
    known = PUBLISHED.get(name, Published(""))
    size, channels = size or known.size, channels or known.channels
    if normalize:
        mean, std = NORMALIZE[choose("--normalize", normalize, NORMALIZE)]
    elif says and says.mean and says.std:
        mean, std = tuple(says.mean), tuple(says.std)
    else:
        mean, std = NORMALIZE["imagenet" if channels == 3 else "unit"]
    if len(mean) > 1 and channels == 1:
        raise UserError(f"mean and std have {len(mean)} values, and pictures one channel; add --normalize unit")
    whole = size <= SMALL
    transforms = () if whole else tuple(published_weights.config_of(name, "folder/", size).data.eval_transform)
    picture = (size, size, channels) if whole else None
    found = Preprocessing(transforms, mean, std, channels, picture)
    found.check()
    return found


def _seen(preprocessing):
    """The shape of a picture as the model sees it."""
    raw = jax.ShapeDtypeStruct((1, *prepared(preprocessing)), np.uint8)
    return jax.eval_shape(preprocessing.device, raw).shape[1:]


def _drawn(name, classes, preprocessing, fields):
    """The network with drawn weights."""
    model = models.create(name, num_classes=len(classes), **fields)
    image = jax.ShapeDtypeStruct((1, *_seen(preprocessing)), np.float32)
    shapes = jax.eval_shape(lambda key, x: model.init(key, x, train=False), jax.random.key(0), image)
    title = f"{name} with drawn weights"
    return Network(title, name, model, drawn(shapes), classes, preprocessing, source={"model": name, "sha256": ""})


def drawn(shapes: PyTree, seed: int = 0) -> PyTree:
    """Variables for abstract ones, which keep the scale of what goes through: kernels are normal with variance
    1 / fan_in, scales and variances lie around one, all else is small. In NumPy: an initialisation would compile."""
    rng = np.random.default_rng(seed)

    def one(path, leaf):
        noise, kind = rng.normal(size=leaf.shape), path[-1].key
        if kind == "kernel":
            noise = noise / np.sqrt(np.prod(leaf.shape[:-1]))
        elif kind in ("scale", "var"):
            noise = 1 + np.abs(noise) / 9
        else:
            noise = noise / 9
        return np.asarray(noise, leaf.dtype)

    return jax.tree_util.tree_map_with_path(one, shapes)


def prepared(preprocessing: Preprocessing) -> tuple[int, ...]:
    """(height, width, channels) of prepared pictures; of clips (frames, ...)."""
    return preprocessing.prepare(preprocessing.blank()).shape


def samples(subject: Subject, count: int = 8) -> UInt8[np.ndarray, "n h w c"]:
    """So many prepared pictures (or fewer) to compare answers on: of the run's validation split, else of training,
    evenly spread; made ones without a run, or where none can be read.

    Raises:
      UserError: for a picture that can't be read and is not skipped.
    """
    if subject.data is not None:
        split = "validation" if "validation" in subject.data.sources else "train"
        rows = pictures.spread(len(subject.data.sources[split]), count)
        for _, images in pictures.of_split(subject.data, split, rows).batches(count):
            return images
    _, images = next(pictures.made(prepared(subject.network.preprocessing)).batches(count))
    return images
