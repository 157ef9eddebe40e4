"""The pictures of a run: their sources, and what happens to a picture before the model sees it (`Data`)."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, TypeGuard

import jax
import numpy as np

from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.columns import Column
from jaxcls.data import pipeline, skipping, windows
from jaxcls.data.base import ArraySource, Leaf, Source, subset
from jaxcls.data.class_tree import ClassTree
from jaxcls.data.stored_splits import BANK
from jaxcls.errors import Problems
from jaxcls.settings.reader import choose
from jaxcls.training import captioned, clips, columns, trees
from jaxcls.training.members import Members, few_labelled
from jaxcls.training.members import open_members as open_members
from jaxcls.training.members import open_sources as open_sources
from jaxcls.training.members import say as say
from jaxcls.training.transforms import Augmentation, augmentation, normalization, preprocessing
from jaxcls.types import PathLike


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
    for check in (
        lambda: normalization(config),
        lambda: windows.checked(config.data.window),
        lambda: clips.check(config, by_split, trains=trains),
    ):
        with problems.noted():
            check()
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
