"""Learning with few labels (config.few): the part of `build` that reads this section."""

from typing import Any

import numpy as np

from jaxcls.augment import mixing_in
from jaxcls.data import few
from jaxcls.data.base import Source
from jaxcls.data.sampling import TwoParts
from jaxcls.errors import UserError
from jaxcls.hyperparameters import Section
from jaxcls.settings.reader import choose
from jaxcls.tasks.fewlabels import PAIR, FewLabels
from jaxcls.tasks.supervised import Supervised
from jaxcls.training.data import Data
from jaxcls.training.model import Model

METHODS = ("fixmatch", "pseudo")


def check(config: Any, devices: int) -> None:
    """Settings that go with config.few.method, where it is set; `devices`: their number.

    Raises:
      UserError: with a line for the first that does not.
    """
    section = config.few
    if not section.method:
        return
    what = f"config.few.method={choose('config.few.method', section.method, METHODS)!r}"
    others = {  # setting -> whether it is given
        f"config.ssl.method={config.ssl.method!r}": config.ssl.method,
        f"config.distill.teacher={config.distill.teacher!r}": config.distill.teacher,
        f"config.loss.consistency={config.loss.consistency}": config.loss.consistency,
        f"config.loss.class_weight={config.loss.class_weight!r}": config.loss.class_weight,
        f"config.loss.name={config.loss.name!r}": config.loss.name != "cross_entropy",
        f"config.data.sampling={config.data.sampling!r}": config.data.sampling != "uniform",
        f"config.data.repeats={config.data.repeats}": config.data.repeats > 1,
        f"config.accumulate={config.accumulate} and config.precise_bn": config.precise_bn and config.accumulate > 1,
    }
    for setting, given in others.items():
        if given:
            raise UserError(f"{setting} does not go with {what}; remove one of them.")
    for key in ("augment", "augment_second")[: 2 if section.method == "fixmatch" else 1]:
        if name := mixing_in(getattr(config.data, key), f"config.data.{key}"):
            raise UserError(
                f"config.data.{key}: {name!r} mixes pictures, and {what} has some without a label; remove it."
            )
    if section.method == "fixmatch" and not tuple(config.data.augment_second):
        raise UserError(
            f"{what} learns from a strong view what a weak one says, and config.data.augment_second is empty; write "
            "for example (*config.data.augment, 'rand_augment(2, magnitude=10)', 'cutout(16)')."
        )
    own = PAIR * (1 + section.ratio) * config.accumulate  # of one device; what does not even fit it the sampler tells
    unit = own * devices
    if config.batch_size % unit and not config.batch_size % own:
        raise UserError(
            f"config.batch_size {config.batch_size} can't be divided by {unit}: pairs of pictures with a label, "
            f"config.few.ratio={section.ratio} times as many without, on {devices} device(s), in {config.accumulate} "
            f"micro-batch(es); try {max(1, round(config.batch_size / unit)) * unit}."
        )


def sampler(config: Any, source: Source) -> TwoParts:
    """Which rows of the training split make up an epoch. Raises UserError."""
    labels, ratio = np.asarray(source.labels), config.few.ratio
    return TwoParts(labels, ratio, batch_size=config.batch_size, parts=config.accumulate)


def task(config: Any, inner: Supervised, model: Model, data: Data, devices: int) -> FewLabels:
    """The task of config.few, without its wrappers. Raises UserError for groups of BatchNorm that do not fit."""
    section = Section(config.few, "few")
    strong = section.method == "fixmatch"
    groups = getattr(model.module, "axis_name", None)
    blocks = config.batch_size // config.accumulate // (PAIR * (1 + section.ratio))
    blocks //= devices if model.axis_name else 1
    if isinstance(groups, int) and blocks % groups:
        raise UserError(
            f"config.parallel.batch_norm={config.parallel.batch_norm!r}: its {groups} groups can't be made of {blocks} "
            f"blocks of 2 labelled and {PAIR * section.ratio} other pictures; use 'global'."
        )
    train = data.sources["train"]
    hides = np.asarray(few.truth(train))[np.asarray(train.labels) < 0]
    return FewLabels(
        inner,
        ratio=section.ratio,
        weight=section.weight,
        threshold=section.threshold,
        temperature=section.temperature,
        strong=strong,
        known=bool((hides >= 0).any()),
    )
