"""The pictures of a run: their sources, and what happens to a picture before the model sees it (`Data`)."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

import jax
import numpy as np

from jaxcls import augment
from jaxcls.augment.base import Context, Operation
from jaxcls.augment.clips import ClipTransform
from jaxcls.augment.host import HostTransform
from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.columns import Column
from jaxcls.data import pipeline, skipping, windows
from jaxcls.data.base import ArraySource, Leaf, Source, subset
from jaxcls.data.class_tree import ClassTree
from jaxcls.data.stored_splits import BANK
from jaxcls.errors import Problems, UserError
from jaxcls.settings.reader import choose
from jaxcls.training import captioned, clips, columns, trees
from jaxcls.training.members import Members, few_labelled
from jaxcls.training.members import open_members as open_members
from jaxcls.training.members import open_sources as open_sources
from jaxcls.training.members import say as say
from jaxcls.types import PathLike

# Mean and standard deviation of the training pictures, on the scale of [0, 1].
NORMALIZE = {
    "unit": ((0.0,), (1.0,)),
    "symmetric": ((0.5,), (0.5,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "mnist": ((0.1307,), (0.3081,)),
    "fashion_mnist": ((0.2860,), (0.3530,)),
}


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How training pictures are changed.

    Attributes:
      host: what the host does with an item (`augment.host_transform`).
      device: short side of the pictures, None to leave it -> (keys [n], batch) -> batch, inside the compiled step.
      views: of each picture in `batch["views"]`, each drawn wholly anew; 0 for none.
      specs: the list config.data.augment, for messages.
    """

    host: HostTransform | ClipTransform
    device: Callable[[int | None], Operation]
    views: int
    specs: tuple[str, ...]

    @property
    def host_views(self) -> int:
        """How many of the views the host makes: where nothing is drawn there, the device makes all of one picture."""
        return self.views if self.host.operations else 0


@dataclasses.dataclass(frozen=True)
class Data:
    """The pictures of a run; `read` makes it of a config.

    Attributes:
      name: config.data.name; `watched`: config.monitor.data, "" where it is not read.
      sources: split -> Source.
      evaluation: what evaluation makes of a picture.
      augmentation: what training does; None where nothing is trained.
      seed: of orders and of what is drawn.
      eval_batch_size: of all devices together.
      device_memory: bytes up to which a set in memory is kept on the devices.
      workers: reading processes; 0: threads, -1: chosen by a measurement.
      metadata, group_by: what else is known of pictures (data.metadata, data.groups).
      tree: over the classes (config.data.tree); None without one, or where nobody asks.
      members: Members; None where nobody asks.
      skipped: what is told of pictures that can't be read, where they are skipped (config.data.bad_pictures).
      bank: labelled training pictures whose neighbours tell how good features are; None where nobody asks.
      columns: what the leaf `columns` is made of (config.data.columns); `notes`: lines about them.
    """

    name: str
    sources: Mapping[str, Source]
    evaluation: Preprocessing
    augmentation: Augmentation | None
    seed: int
    eval_batch_size: int
    device_memory: int
    workers: int
    metadata: str = ""
    group_by: str = ""
    tree: ClassTree | None = None
    members: Members | None = None
    skipped: skipping.Skipped | None = None
    bank: Source | None = None
    watched: str = ""
    columns: tuple[Column, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> str:
        """All sets, for messages."""
        return f"{self.name} and {self.watched}" if self.watched else self.name

    @property
    def labelled(self) -> bool:
        """Whether training pictures have labels, which count in `classes`."""
        return bool(self.sources["train"].classes) and bool((np.asarray(self.sources["train"].labels) >= 0).any())

    def source(self, split: str) -> Source:
        """A split's Source; "bank": the bank."""
        found = self.bank if split == "bank" else self.sources[split]
        assert found is not None
        return found

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of the labelled pictures: those of config.monitor.data where it is given; () without labels."""
        return next((source.classes for source in self.sources.values() if source.classes), ())

    @property
    def normalize(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(mean, std)."""
        return self.evaluation.mean, self.evaluation.std

    @property
    def result_split(self) -> str | None:
        """The split that a result is reported on: test, else validation, else None."""
        return next((split for split in ("test", "validation") if split in self.sources), None)

    def in_memory(self, source: Source) -> TypeGuard[ArraySource]:
        """Whether a source is kept in device memory."""
        arrays = getattr(source, "arrays", None)
        return arrays is not None and sum(array.nbytes for array in arrays.values()) <= self.device_memory

    def leaves(self, split: str, *, training: bool = False) -> dict[str, Leaf]:
        """What reaches the device of one example of a split, by name, as training or as evaluation reads it."""
        source, how = self.sources[split], self.augmentation if training else None
        transform, views = (how.host, how.host_views) if how else (self.evaluation.host, 0)
        in_memory = self.in_memory(source)
        skip = self.skipped is not None
        return pipeline.shapes(source, transform, in_memory=in_memory, training=how is not None, views=views, skip=skip)

    @functools.cached_property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape of an evaluation picture as it reaches the device, such as (height, width, channels)."""
        split = next(split for split in ("validation", "test", "train") if split in self.sources)
        return self.leaves(split)["image"].shape or ()

    @functools.cached_property
    def picture(self) -> tuple[int, ...]:
        """The shape of an evaluation picture, or clip, as the model sees it."""
        raw = jax.ShapeDtypeStruct((2, *self.batch_shape), np.uint8)
        return jax.eval_shape(lambda x: self.evaluation.one_clip(self.evaluation.device(x)), raw).shape[1:]


def read(
    config: Any, *, trains: bool = True, views: int = 0, workdir: PathLike | None = None, allow_changed: bool = False
) -> Data:
    """The Data of a config. Pictures are opened, none is decoded but what small sets have.

    Args:
      config: a Reader.
      trains: whether there is training; else its list of transforms is left alone.
      views: `Augmentation.views`.
      workdir: of a run, whose stored splits are found again; None, or one without any: they are dealt.
      allow_changed: whether pictures that are new since then are dealt into the splits.

    Raises:
      UserError: for data that can't be opened, or transforms that can't be.
    """
    problems = Problems()
    by_split: Any = {}
    with problems.noted():
        members = open_members(config, workdir, allow_changed)
        by_split = open_sources(config, members)
        labelled = by_split.pop(BANK, None)
    with problems.noted():
        normalization(config)
    with problems.noted():
        windows.checked(config.data.window)
    with problems.noted():
        clips.check(config, by_split, trains=trains)
    problems.refuse()
    source = by_split["train"] if "train" in by_split else next(iter(by_split.values()))
    measured = source if labelled is None else labelled  # what evaluation is of
    evaluation = preprocessing(config, measured, pack=config.data.pack)
    changes = None
    with problems.noted():
        evaluation.check()
    with problems.noted():
        changes = augmentation(config, source, evaluation, views) if trains else None
    bank = None
    with problems.noted():
        bank = voters(config, by_split, labelled) if trains and config.ssl.method else None
    with problems.noted():
        by_split = few_labelled(config, by_split, members)
    with problems.noted():
        by_split = captioned.sources(config, by_split)
    told = columns.Told({})
    with problems.noted():
        told = columns.sources(config, by_split, workdir)
    tree = None
    with problems.noted():
        tree = trees.read(config, source, workdir) if trains else None
    problems.refuse()
    return Data(
        name=config.data.name,
        sources=told.sources,
        evaluation=evaluation,
        augmentation=changes,
        seed=config.seed,
        eval_batch_size=config.eval.batch_size or config.batch_size,
        device_memory=config.data.device_memory,
        workers=config.data.workers,
        metadata=config.data.metadata,
        group_by=config.data.group_by,
        tree=tree,
        members=members,
        skipped=skipped(config),
        bank=bank,
        watched=config.monitor.data if config.ssl.method else "",
        columns=told.columns,
        notes=told.lines,
    )


def preprocessing(config: Any, source: Source, *, pack: int = 0) -> Preprocessing:
    """What evaluation does to the pictures of a source; not checked.

    Args:
      config: a Reader.
      source: the pictures.
      pack: side to which files are made smaller (`Preprocessing`); pictures in memory are not.

    Raises:
      UserError: for a normalisation or a window that can't be.
    """
    arrays = getattr(source, "arrays", None)
    return Preprocessing(
        tuple(config.data.eval_transform),
        *normalization(config),
        channels=config.data.channels or 3,
        picture=None if arrays is None else arrays["image"].shape[1:],
        pack=pack if arrays is None else 0,
        window=windows.checked(config.data.window),
    )


def views_of(config: Any) -> int:
    """Of each training picture that the config's own task wants (`Augmentation.views`)."""
    return 2 if config.ssl.method or config.few.method == "fixmatch" else 0


def voters(config: Any, by_split: Mapping[str, Source], labelled: Source | None = None) -> Source | None:
    """The training pictures of config.monitor.data (`labelled`), or those of the run with their labels, spread evenly
    where config.monitor.pictures wants fewer; None without any, or where nothing is measured."""
    if not config.monitor.knn or "validation" not in by_split:
        return None
    source, most = by_split["train"] if labelled is None else labelled, config.monitor.pictures
    if not source.classes:
        return None
    if not most or most >= len(source):
        return source
    return subset(source, np.linspace(0, len(source) - 1, most).astype(np.int64))


def skipped(config: Any) -> skipping.Skipped | None:
    """What notes pictures that can't be read and are skipped; None where such a picture ends the run."""
    how = choose("config.data.bad_pictures", config.data.bad_pictures, ("stop", "skip"))
    return skipping.Skipped(lambda line: print(line, flush=True)) if how == "skip" else None


def normalization(config: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) of the config, each a tuple."""
    mean, std = tuple(config.data.mean), tuple(config.data.std)
    if mean or std:
        if len(mean) != len(std) or not all(s > 0 for s in std):
            raise UserError("config.data.mean and config.data.std must have as many values as each other, std above 0.")
        return mean, std
    return NORMALIZE[choose("config.data.normalize", config.data.normalize, NORMALIZE)]


def augmentation(config: Any, source: Source, evaluation: Preprocessing, views: int = 0) -> Augmentation:
    """What the config does with training pictures.

    Raises:
      UserError: for a list that can't be.
    """
    what, specs = "config.data.augment", tuple(config.data.augment)
    encoded = not hasattr(source, "arrays")
    host, device = augment.split_list(specs, encoded=encoded, what=what)
    second = _second(config, host, encoded) if views == 2 else None
    if views and second is None:
        augment.check_random(host + device, what)
    context = Context(
        len(source.classes), evaluation.mean, evaluation.std, seed=config.seed, batch_size=config.batch_size
    )
    consistent = config.loss.consistency > 0
    transform = functools.partial(
        augment.device_transform, random=True, context=context, what=what, views=consistent, anew=views
    )

    def for_side(side: int | None = None) -> Operation:
        own, other = (of if side is None or of is None else augment.shrunk(of, side) for of in (device, second))
        return transform(own or [], other=other)

    for_side()  # a list that can't be is told now
    on_host = augment.host_transform(host, channels=evaluation.channels, window=evaluation.window, what=what)
    return Augmentation(on_host, for_side, views, specs)


def _second(config, host, encoded):
    """The device's part of config.data.augment_second; None where both views have one list. Raises UserError."""
    what, specs = "config.data.augment_second", tuple(config.data.augment_second)
    if not specs:
        return None
    first, device = augment.split_list(specs, encoded=encoded, what=what)
    if first != host:
        raise UserError(f"{what}: both views are cut by one decoding, so it must begin as config.data.augment does.")
    augment.check_random(first + device, what)
    return device
