"""Which pictures a run has: its set, and the labelled one that tells how good it is, each in its splits."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxcls import augment, files
from jaxcls.data import balance, dealing, few, folds, metadata, packing, row_lists, sources, stored_splits, windows
from jaxcls.data.base import Source, refuse_clips
from jaxcls.data.stored_splits import BANK, SPLITS, UNLABELLED, Stored
from jaxcls.data.unlabelled import without_labels
from jaxcls.data.views import joined, renumbered
from jaxcls.errors import UserError
from jaxcls.types import PathLike


@dataclasses.dataclass(frozen=True)
class Members:
    """Which pictures the splits have, and had when the run began.

    Attributes:
      found: split -> Source as it was opened, before pictures are left out or packed. With config.monitor.data "train"
        is of config.data.name and all others are of that: "bank" is its training split. "unlabelled" is of
        config.few.data.
      stored: the splits that the run has stored; None where there are none (yet).
      new: ids of pictures that are in none of the stored splits.
      allowed: whether the run goes on with changed data: new pictures were dealt into `found`.
    """

    found: Mapping[str, Source]
    stored: Stored | None = None
    new: tuple[str, ...] = ()
    allowed: bool = False

    def change(self, splits: Sequence[str] = SPLITS) -> stored_splits.Change | None:
        """How the pictures of some splits differ from the stored ones; None where none are stored."""
        return stored_splits.changes(self.stored, self.found, self.new, splits) if self.stored else None

    @property
    def knows_train(self) -> bool:
        """Whether training pictures are told by name and content; else by the fingerprint of all."""
        return self.stored is not None and "train" in self.stored.parts


def open_members(config: Any, workdir: PathLike | None = None, allow_changed: bool = False) -> Members:
    """The splits of the config's data: those that the run in `workdir` has stored, else dealt now. See `data.read`.

    Raises:
      UserError: for data that can't be opened, config.monitor.data without labels among them.
    """
    stored = stored_splits.read(workdir) if workdir is not None else None
    watched = config.monitor.data if config.ssl.method else ""
    more = config.few.data if config.few.method else ""
    if not watched:
        own = None if stored is None else stored.only([split for split in SPLITS if split != UNLABELLED])
        found, new = _opened(config, config.data.name, own, allow_changed, workdir)
        if more:
            bare, others = _bare(config, more, stored, allow_changed, workdir)
            found, new = {**found, UNLABELLED: _counted_in(bare, found["train"].classes)}, (*new, *others)
        return Members(found, stored, new, allow_changed and stored is not None)
    parts = None if stored is None else stored.only([split for split in SPLITS if split != "train"])
    labelled, new = _opened(config, watched, parts, allow_changed, workdir, BANK)
    classes = next(iter(labelled.values())).classes
    if not classes:
        raise UserError(f"config.monitor.data={watched!r} has no labels, by which features are judged; name another.")
    of_train = None if stored is None else stored.only(["train"])
    train, more = _opened(config, config.data.name, of_train, allow_changed, workdir, whole=True)
    found = {"train": _counted_in(train["train"], classes), **labelled}
    return Members(found, stored, (*more, *new), allow_changed and stored is not None)


def _bare(config, name, stored, allow_changed, workdir):
    """(all training pictures of config.few.data, ids of those that the run does not have)."""
    of_it = None if stored is None else stored.only([UNLABELLED])
    found, new = _opened(config, name, of_it, allow_changed, workdir, UNLABELLED, whole=True)
    return found[UNLABELLED], new


def _opened(config, name, stored, allow_changed, workdir, train="train", whole=False):
    """(split -> Source, ids of pictures that are in no stored split) of a set.

    Args:
      config, workdir, allow_changed: as of `open_members`.
      name: of the set.
      stored: its own splits; None to deal it by the config.
      train: what its training split is called, here and in `stored`.
      whole: all of its pictures for training train: nothing is held out, and splits of its own are left alone.
    """
    data = config.data
    rule = dealing.Rule(None if whole else data.validation or None, data.split_ratios, config.seed, data.group_by)
    bases = sources.find(name, data_dir=data.dir or None, seed=config.seed, channels=data.channels or None)
    if whole:
        bases = {"train": next(bases[key] for key in ("train", dealing.ALL, *bases) if key in bases)}
    fold = folds.parse(data.fold) if data.fold and not whole else None
    if fold:
        bases = folds.pooled(bases)
    called = lambda splits, old, new: {new if split == old else split: x for split, x in splits.items()}  # noqa: E731
    if stored is None:
        placed = folds.deal(bases, rule, fold) if fold else dealing.deal(bases, rule)
        for line in folds.lines(bases[placed["train"][0]], fold.total) if fold else ():
            say(line)
        return called(dealing.sources(placed, bases), "train", train), ()
    stored = Stored(stored.classes, called(stored.parts, train, "train"))
    placed, new = stored_splits.place(stored, bases)
    ids = {key: metadata.ids(base) for key, base in bases.items()}
    names = tuple(ids[key][row] for key, rows in new.items() for row in rows)
    if allow_changed:
        if not whole:  # its labels count where they can
            stored_splits.check_classes(stored, bases)
        placed = dealing.deal_new(placed, new, bases, rule)
    if "train" not in placed:
        raise UserError(f"none of the {train} pictures of the run in {workdir} is in {name}; set config.data.dir")
    return called(dealing.sources(placed, bases, None if whole else stored.classes), "train", train), names


def _counted_in(source, classes):
    """Training pictures with labels that count in the classes of other ones; without any where theirs are others."""
    if {str(name) for name in source.classes} == {str(name) for name in classes}:
        return renumbered(source, classes)
    return without_labels(source)


def open_sources(config: Any, members: Members | None = None) -> dict[str, Source]:
    """split -> Source of the config's data, as it is trained on: long tails are cut off, pictures packed.

    Without `members` of config.data.name alone, dealt now.

    Raises:
      UserError: for settings that need labels, where the training pictures have none.
    """
    data = config.data
    splits = dict(members.found if members else _opened(config, data.name, None, False, None)[0])
    if "train" in splits and not splits["train"].classes:
        _refuse_labelled_settings(config, grouped=len(splits) > 1)
    described = [key for key in splits if key != UNLABELLED and (key != "train" or BANK not in splits)]
    metadata.check(data.metadata, {key: splits[key] for key in described})
    if data.rows and "train" in splits:
        splits["train"] = row_lists.restricted(splits["train"], data.rows)
    if data.imbalance > 1 and "train" in splits:
        splits["train"] = balance.long_tailed(splits["train"], data.imbalance, config.seed)
    if data.pack:
        folder, channels = files.path(data.pack_dir) if data.pack_dir else packing.default_folder(), data.channels or 3
        window = windows.checked(data.window)
        shrink = augment.smaller(data.pack, channels=channels, window=window)
        skip = data.bad_pictures == "skip"
        # of two sets one may lie in memory
        refuse_clips(next(iter(splits.values())), f"config.data.pack={data.pack}")
        encoded = {key: source for key, source in splits.items() if not hasattr(source, "images")} or splits
        splits |= packing.pack_all(
            encoded, folder, shrink, data.pack, channels=channels, window=window, skip=skip, note=say
        )
    return splits


def few_labelled(config: Any, splits: Mapping[str, Source], members: Members) -> dict[str, Source]:
    """The splits of a run of config.few: in train few have labels, those of the others are hidden (data.few).

    `splits`: of `open_sources`; "unlabelled" among them becomes a part of train. Without config.few.method they stay.

    Raises:
      UserError: for settings that the pictures do not fit.
    """
    section, splits = config.few, dict(splits)
    if not section.method or "train" not in splits or not splits["train"].classes:
        return splits
    train, more = splits["train"], splits.pop(UNLABELLED, None)
    if few.is_amount(section.labels) and members.allowed and str(members.change(["train"])):
        raise UserError(
            f"config.few.labels={section.labels!r} would draw other labels among changed pictures; put them back, or "
            "begin anew with a list of those that have labels."
        )
    rows = few.chosen(train, section.labels, (config.seed, section.draw))
    if more is not None:
        few.check_alike(train, more, section.data)
        train = joined([train, more])
    if len(rows) == len(train):
        raise UserError(
            f"config.few.method={section.method!r} learns from pictures without labels, and all {len(train):,} "
            "training pictures have one; name others by config.few.data, or how many shall count by config.few.labels."
        )
    missing = np.setdiff1d(np.arange(len(train.classes)), np.asarray(train.labels)[rows])
    if len(missing):
        raise UserError(
            f"config.few.labels={section.labels!r}: {len(missing)} of {len(train.classes)} classes have no labelled "
            f"training picture, the first is {str(train.classes[missing[0]])!r:.100}; label more."
        )
    return {**splits, "train": few.hidden(train, rows)}


def _refuse_labelled_settings(config, grouped):
    """`grouped`: whether there is another set that config.data.group_by is about."""
    data = config.data
    needs = {
        f"sampling={data.sampling!r}": data.sampling != "uniform",
        f"imbalance={data.imbalance}": data.imbalance > 1,
    }
    needs[f"group_by={data.group_by!r}"] = bool(data.group_by) and not grouped
    if wrong := [key for key, needed in needs.items() if needed]:
        raise UserError(f"config.data.{wrong[0]} has no effect: the pictures of {data.name} have no labels; remove it.")


def say(line: str) -> None:
    """Prints a line, if this is the main process."""
    if jax.process_index() == 0:
        print(line, flush=True)
