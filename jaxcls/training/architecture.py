"""Architecture search (config.nas): the part of `build` that reads this section."""

from typing import Any

import numpy as np

from jaxcls.augment import mixing_in
from jaxcls.data import splits
from jaxcls.data.base import Source, multilabel
from jaxcls.data.sampling import TwoParts
from jaxcls.defaults import default_config
from jaxcls.errors import Problems, UserError
from jaxcls.hyperparameters import Section
from jaxcls.models import create
from jaxcls.models.mbconv_net import MBConvNet
from jaxcls.nas import costs, latency
from jaxcls.nas.controller import REWARDS, Controller
from jaxcls.nas.space import MODEL, Space, parse_stage
from jaxcls.nas.supernet import Supernet
from jaxcls.settings.reader import choose
from jaxcls.tasks.architecture import PAIR, Architecture
from jaxcls.tasks.supervised import Supervised

FRAME = ("first", "last", "stem", "act")  # fields of the model that all nets of the space share


def check(config: Any) -> None:
    """Settings that go with config.nas.stages, where it is set.

    Raises:
      UserError: with a line for each that does not.
    """
    section, problems = config.nas, Problems()
    if not tuple(section.stages):
        return
    with problems.noted():
        choose("config.nas.reward", section.reward, REWARDS)
    with problems.noted():
        if not str(section.cost).endswith(".json"):
            choose("config.nas.cost", section.cost, costs.COUNTED)
    others = {  # setting -> whether it is given
        f"config.model.name={config.model.name!r}": config.model.name != MODEL,
        f"config.model.neck={config.model.neck!r}": config.model.neck,
        f"config.model.pretrained={config.model.pretrained!r}": config.model.pretrained,
        f"config.model.quantize={config.model.quantize!r}": config.model.quantize,
        "config.model.fields.blocks": "blocks" in config.model.fields,
        f"config.few.method={config.few.method!r}": config.few.method,
        f"config.ssl.method={config.ssl.method!r}": config.ssl.method,
        f"config.distill.teacher={config.distill.teacher!r}": config.distill.teacher,
        f"config.loss.consistency={config.loss.consistency}": config.loss.consistency,
        f"config.data.sampling={config.data.sampling!r}": config.data.sampling != "uniform",
        f"config.data.repeats={config.data.repeats}": config.data.repeats > 1,
        f"config.data.fold={config.data.fold!r}": config.data.fold,
        f"config.precise_bn={config.precise_bn}": config.precise_bn,
        f"config.eval.tta={tuple(config.eval.tta)}": tuple(config.eval.tta),
    }
    for setting, given in others.items():
        with problems.noted():
            if given:
                remedy = f"set config.model.name={MODEL!r}" if "model.name" in setting else "remove one of them"
                raise UserError(f"{setting} does not go with an architecture search (config.nas.stages); {remedy}.")
    with problems.noted():
        if name := mixing_in(config.data.augment, "config.data.augment"):
            raise UserError(
                f"config.data.augment: {name!r} mixes pictures of config.nas's two row sets; remove it while searching."
            )
    problems.refuse()


def space(config: Any, picture: tuple[int, ...], classes: int) -> Space:
    """The space of config.nas.stages, in the frame of config.model.fields.

    Raises:
      UserError: for an empty space, or a stage that cannot be.
    """
    fields = dict(config.model.fields.items())
    usual = create(MODEL, **fields)  # which checks the fields
    assert isinstance(usual, MBConvNet)
    height, width, channels = picture
    return Space(
        tuple(map(parse_stage, config.nas.stages)),
        **{name: getattr(usual, name) for name in FRAME},
        picture=(height, width, channels),
        classes=classes,
    )


def supernet(config: Any, module: Any, picture: tuple[int, ...]) -> Supernet:
    """The supernet in place of the config's own module; fields that all models have are that one's.

    Raises:
      UserError: for a space that cannot be, or norms over groups of the batch.
    """
    if isinstance(module.axis_name, int):
        raise UserError(
            f"config.parallel.batch_norm={config.parallel.batch_norm!r} does not go with a search; use 'global'."
        )
    common = ("num_classes", "dropout", "dtype", "param_dtype", "axis_name", "remat")
    return Supernet(
        space=space(config, picture, module.num_classes), **{name: getattr(module, name) for name in common}
    )


def sampler(config: Any, source: Source) -> TwoParts:
    """Which rows make up an epoch: one pass over the rows for the weights, those for the reward in between.

    Raises:
      UserError: for a batch that cannot be cut so, or a share that leaves either without rows.
    """
    section, labels = config.nas, np.asarray(source.labels)
    if multilabel(source):
        raise UserError(
            "config.nas.stages is for pictures of one label each, and these have sets of labels; remove it."
        )
    rows = held_rows(labels, section.holdout, config.seed)
    for what, count in (("the reward", len(rows)), ("the weights", len(labels) - len(rows))):
        if count < PAIR:
            raise UserError(
                f"config.nas.holdout={section.holdout} leaves {count} of {len(labels):,} training pictures for {what}; "
                "choose another share."
            )
    unit = PAIR * (1 + section.ratio) * config.accumulate
    if config.batch_size % unit:
        raise UserError(
            f"config.batch_size {config.batch_size} can't be divided by {unit}: config.nas.ratio={section.ratio} "
            f"pictures for the weights for each one for the reward, in pairs, in {config.accumulate} micro-batch(es); "
            f"try {max(1, round(config.batch_size / unit)) * unit}."
        )
    weights, wanted = len(labels) - len(rows), config.batch_size // (1 + section.ratio) * section.ratio
    if weights < wanted:
        raise UserError(
            f"config.batch_size {config.batch_size} takes {wanted} pictures for the weights, and there are {weights:,} "
            f"(config.nas.holdout={section.holdout}); make it smaller."
        )
    marked = np.zeros(len(labels), np.int64) - 1
    marked[rows] = 0
    return TwoParts(marked, section.ratio, batch_size=config.batch_size, parts=config.accumulate)


def held_rows(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Rows of the training split whose accuracy is the reward: a stratified share of each class, sorted int64."""
    return splits.stratified(labels, (share, 1 - share), seed)[0]


def task(config: Any, inner: Supervised, axis_name: str | None, total: int) -> Architecture:
    """The task of config.nas, without its wrappers; `total`: steps of the run.

    Raises:
      UserError: for a target that no net of the space meets, or a table of latencies of another space.
    """
    section, net = Section(config.nas, "nas"), inner.model
    assert isinstance(net, Supernet)
    for key in ("retrain", "asked", "random", "seeds", "reference"):  # of what comes after the search
        getattr(config.nas, key)
    tables = None
    if config.nas.target:
        tables = tables_of(config.nas.cost, net.space)
        costs.check_target(net.space, tables, config.nas.target, what=f"config.nas.target ({config.nas.cost})")
    elif config.nas.cost != default_config().nas.cost:
        raise UserError(f"config.nas.cost={config.nas.cost!r} has no effect without a config.nas.target; set it.")
    return Architecture(
        inner,
        Controller(net.space.sizes, rate=section.rate, total=total),
        cost=tables,
        target=config.nas.target,
        reward=config.nas.reward,
        beta=section.beta,
        ratio=config.nas.ratio,
        axis_name=axis_name,
    )


def tables_of(cost: str, space: Space) -> costs.Tables:
    """The tables of a config.nas.cost. Raises UserError for a file that holds none of this space."""
    return costs.counted(space, cost) if cost in costs.COUNTED else latency.read(cost, space)
