"""Losses, optimisers and schedules of a config: the part of `build` that reads these sections."""

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import optax
from jax import Array
from jaxtyping import Float

from jaxcls import losses, optim
from jaxcls.criteria import Figure
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.hyperparameters import Section, number
from jaxcls.optim import schedules, transfer
from jaxcls.optim.schedules import Schedule
from jaxcls.settings.reader import choose
from jaxcls.tasks.base import Task
from jaxcls.training import lengths
from jaxcls.types import Figures

LOSSES: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "cross_entropy": (losses.cross_entropy, ()),
    "focal": (losses.focal, ("gamma", "alpha")),
    "binary_cross_entropy": (losses.binary_cross_entropy, ("threshold", "sum_classes")),
    "asymmetric": (losses.asymmetric, ("gamma_neg", "gamma_pos", "clip", "sum_classes")),
    "poly1": (losses.poly1, ("epsilon",)),
}
# Of sets of labels. The cross entropy of yes and no, summed over the classes, has the slope p - y by each logit, as
# that of softmax has: so a learning rate that suits the one suits the other.
SET_LOSSES: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "cross_entropy": (functools.partial(losses.binary_cross_entropy, sum_classes=True), ()),
    "binary_cross_entropy": LOSSES["binary_cross_entropy"],
    "asymmetric": LOSSES["asymmetric"],
}
BINARY = ("binary_cross_entropy", "asymmetric")
OPTIMISERS = {
    "sgd": (optim.sgd, ("momentum", "nesterov")),
    "adam": (optim.adam, ("b1", "b2", "eps")),
    "adamw": (optim.adamw, ("b1", "b2", "eps")),
    "rmsprop_tf": (optim.rmsprop_tf, ("momentum", "eps")),
    "lars": (optim.lars, ("momentum", "trust", "form", "eps")),
    "lamb": (optim.lamb, ("b1", "b2", "eps")),
    "lion": (optim.lion, ("b1", "b2")),
    "muon": (optim.muon, ("momentum", "nesterov", "exclude", "adam_rate", "b1", "b2", "eps")),
}
OWN = ("b2", "eps")  # 0 stands for the optimiser's own default
KEYS = {"exclude": "muon_exclude", "form": "lars_form"}  # arguments whose config key has another name
CYCLED = {"sgd": "momentum", "rmsprop_tf": "momentum", "lars": "momentum", "adam": "b1", "adamw": "b1", "lamb": "b1"}


def loss(
    config: Any, class_weight: Float[np.ndarray, " classes"] | None = None, *, sets: bool = False
) -> Callable[..., Float[Array, " n"]]:
    """(logits, label, label_smoothing=) -> [n].

    `sets`: whether labels are sets. The weight of a class then is that of its presence, a factor within the loss.

    Raises:
      UserError: unknown name, one that is not of sets, or class weights for a loss that is not linear in the label.
    """
    section = Section(config.loss, "loss")
    name = choose("config.loss.name", section.name, LOSSES)
    if sets and name not in SET_LOSSES:
        raise UserError(
            f"config.loss.name {name!r} is of one class a picture, but the labels are sets; use {' or '.join(BINARY)}."
        )
    if class_weight is not None and name in BINARY and not sets:
        raise UserError(f"config.loss.class_weight does not go with {name}; use another loss.name.")
    function, names = (SET_LOSSES if sets else LOSSES)[name]
    options = {name: getattr(section, name) for name in names}
    if "threshold" in options:
        options["threshold"] = options["threshold"] or None
    if sets and class_weight is not None:
        options["positive_weight"] = number(class_weight, "loss.class_weight")
    return functools.partial(function, **options)


def sums_classes(config: Any) -> bool:
    """Whether the loss of sets is a sum over the classes, not a mean."""
    return config.loss.name == "cross_entropy" or bool(config.loss.sum_classes)


def timing(config: Any, total: int, steps_per_epoch: int, parts: transfer.Parts) -> transfer.Timing:
    """When each parameter is trained (transfer.Timing); `parts` () -> parameter name -> part (models.stages.parts)."""
    steps = functools.partial(schedules.steps, steps_per_epoch=steps_per_epoch, total=total)
    beside = bool(config.words.method)  # a tower of texts, which no part of the model is
    return transfer.read(config.optim.freeze, config.optim.unfreeze, parts, steps, total, beside=beside)


def optimiser(
    config: Any,
    total: int,
    steps_per_epoch: int,
    layers: Callable[[], list[str]],
    parts: transfer.Parts,
    when: transfer.Timing,
) -> tuple[Schedule, optax.GradientTransformation]:
    """(learning rate as a function of the step, optax chain).

    `layers` () -> names of the parameters in order (optim.call_order), called for layer-wise decay alone; `parts` as
    of `timing`, which gave `when`.
    """
    section = Section(config.optim, "optim")
    rate, cycle = schedule(config, total, steps_per_epoch)
    name = choose("config.optim.name", section.name, OPTIMISERS)
    make, names = OPTIMISERS[name]
    options = {key: getattr(section, KEYS.get(key, key)) for key in names if key != CYCLED.get(name) or cycle is None}
    options = {key: value for key, value in options.items() if value or key not in OWN}
    if cycle is not None and name in CYCLED:
        options[CYCLED[name]] = cycle
    if section.weight_decay:
        options["weight_decay"] = section.weight_decay
    if section.weight_decay or name in ("lars", "lamb"):
        options["decay_mask"] = section.decay_mask
    if section.clip_adaptive:
        options["clip_adaptive_ratio"] = section.clip_adaptive
        options["clip_adaptive_exclude"] = section.clip_adaptive_exclude
    tx = make(rate, clip_norm=section.clip_norm, factors=_factors(section, layers, parts, when), **options)
    if when.unfreeze_at:
        tx = transfer.gradual(tx, when)
    if section.lookahead:
        alpha = section.lookahead_alpha
        if section.lookahead_end:
            alpha = schedules.cubic(alpha, section.lookahead_end, number(total, "total_steps"))
        tx = optim.lookahead(tx, k=number(section.lookahead, "optim.lookahead"), alpha=alpha)
    if when.frozen:
        tx = optim.freeze(tx, when.frozen)  # around lookahead: frozen parameters need no slow copy
    if section.sam:
        tx = optim.sam(tx, rho=section.sam, frozen=when.frozen)
    return rate, tx


def _factors(section, layers, parts, when):
    factors = [optim.by_name(transfer.multipliers(section.multipliers, parts, when))] if section.multipliers else []
    if section.layer_decay != 1:
        factors.append(optim.layerwise(layers(), section.layer_decay))
    return factors


def schedule(config: Any, total: int, steps_per_epoch: int) -> tuple[Schedule, Schedule | None]:
    """(learning rate, momentum), functions of the step; the second is None where it is not scheduled.

    `total`: steps that the run was planned for at first. One that was extended since is as long as config.duration.
    """
    section = Section(config.schedule, "schedule")
    choose("config.schedule.name", section.name, ("one_cycle", *SHAPES))
    peak = section.peak
    if section.per_batch:
        rule = choose("config.schedule.batch_rule", section.batch_rule, schedules.BATCH_RULES)
        peak = schedules.scaled_rate(peak, config.batch_size, per=section.per_batch, rule=rule)
    first, cycle = _planned(section, peak, total, steps_per_epoch)
    if not config.extended or not lengths.depends(section):
        return first, cycle
    whole = schedules.steps(config.duration, steps_per_epoch=steps_per_epoch)

    def shape(rate, n):
        steps = functools.partial(schedules.steps, steps_per_epoch=steps_per_epoch, total=n)
        return lengths.rest(section, rate, number(n, "total_steps"), SHAPES, steps)

    return lengths.extended(config, first, peak, whole, shape), cycle


def _planned(section, peak, total, steps_per_epoch):
    """`schedule` of a run of `total` steps."""
    steps = functools.partial(schedules.steps, steps_per_epoch=steps_per_epoch, total=total)
    total = number(total, "total_steps")
    if section.name == "one_cycle":
        choose("config.schedule.anneal", section.anneal, ("cosine", "linear"))
        if section.three_phase and section.pct_start > 0.5:
            raise UserError("config.schedule.pct_start must be at most 0.5 with three_phase (the way down is as long).")
        form = {"pct_start": section.pct_start, "anneal": section.anneal, "three_phase": section.three_phase}
        ends = {"div_factor": section.div_factor, "final_div_factor": section.final_div_factor}
        cycle = schedules.one_cycle_momentum(0.85, 0.95, total, **form) if section.cycle_momentum else None
        return schedules.one_cycle(peak, total, **form, **ends), cycle
    warmup = number(steps(section.warmup, what="config.schedule.warmup"), "schedule.warmup")
    if warmup >= total:
        raise UserError(f"config.schedule.warmup is {warmup} steps, but the run has only {total}; make it shorter.")
    rest = SHAPES[section.name](section, peak, total - warmup, steps)
    # milestones count from the start of the run, as in Goyal et al. and timm
    delay = section.name not in ("step", "multi_step", "exponential")
    start = section.warmup_start if warmup else 0.0
    return schedules.with_warmup(rest, peak, warmup, start=start, delay=delay), None


def resize_schedule(config: Any, total: int, steps_per_epoch: int) -> list[tuple[int, int]]:
    """config.data.resize_schedule as (first step, short side) pairs.

    Raises:
      UserError: for an entry that is none, or is not after the one before.
    """
    what, setting = "config.data.resize_schedule", config.data.resize_schedule
    phases: list[tuple[int, int]] = []
    entries = ",".join(map(str, setting)).split(",") if setting else []  # as typed, or one by one
    for text in map(str.strip, entries):
        moment, colon, side = (part.strip() for part in text.partition(":"))
        if not colon or not side.isdigit() or not int(side):
            raise UserError(f"{what}: {text!r} must be 'DURATION: SIDE', as in '50%: 224'.")
        step = schedules.steps(moment, steps_per_epoch=steps_per_epoch, total=total, what=what)
        if step >= total or (phases and step <= phases[-1][0]):
            raise UserError(f"{what}: {text!r} is step {step} of {total}; give the moments of the run in their order.")
        phases.append((step, int(side)))
    return phases


def _length(section, steps, key):
    n = steps(getattr(section, key), what=f"config.schedule.{key}")
    if not n:
        raise UserError(f"config.schedule.{key} is empty; {section.name} needs a duration such as '30 epochs'.")
    return number(n, f"schedule.{key}")


def _milestones(section, steps):
    milestones = [steps(milestone, what="config.schedule.milestones") for milestone in section.milestones]
    return number(milestones, "schedule.milestones") if milestones else []


def _trapezoid(section, peak, total, steps):
    cooldown = _length(section, steps, "cooldown")
    if cooldown > total:
        raise UserError(
            f"config.schedule.cooldown is {cooldown} steps, but {total} are left after the warm-up; make it shorter."
        )
    return schedules.trapezoid(peak, total, cooldown, final=section.final)


# Name -> (section, peak, steps after the warm-up, duration -> steps) -> schedule
SHAPES = {
    "constant": lambda s, peak, total, steps: schedules.constant(peak),
    "cosine": lambda s, peak, total, steps: schedules.cosine(peak, total, final=s.final),
    "cosine_7_16": lambda s, peak, total, steps: schedules.cosine_7_16(peak, total),
    "linear": lambda s, peak, total, steps: schedules.linear(peak, s.final, total),
    "polynomial": lambda s, peak, total, steps: schedules.polynomial(peak, total, power=s.power, final=s.final),
    "trapezoid": _trapezoid,
    "step": lambda s, peak, total, steps: schedules.step(peak, _length(s, steps, "every"), factor=s.factor),
    "exponential": lambda s, peak, total, steps: schedules.exponential(
        peak, _length(s, steps, "every"), factor=s.factor
    ),
    "multi_step": lambda s, peak, total, steps: schedules.multi_step(peak, _milestones(s, steps), factor=s.factor),
    "sgdr": lambda s, peak, total, steps: schedules.sgdr(peak, _length(s, steps, "every"), mult=s.mult, final=s.final),
}


def check_followed(config: Any, splits: Collection[str]) -> None:
    """Raises UserError where something follows a validation split, and there is none."""
    if "validation" in splits:
        return
    if config.eval.best != default_config().eval.best and not (config.ssl.method and config.eval.best == "knn"):
        raise UserError(
            "config.eval.best has no effect: no validation split chooses a checkpoint; set config.data.validation."
        )
    for key in ("plateau", "early_stopping"):
        if getattr(config, key).figure:
            raise UserError(f"config.{key} follows a validation split, and there is none; set config.data.validation.")


def best(config: Any, criteria: Sequence[Figure], splits: Collection[str]) -> Figure | None:
    """What of validation ranks states, of a task's criteria; None where there is nothing to rank them by.

    The default of config.eval.best is what tells classes apart; of a task that has no such figure it means the first.

    Raises:
      UserError: for a figure that the task does not have.
    """
    if not criteria or "validation" not in splits:
        return None
    by_name, name = {figure.name: figure for figure in criteria}, config.eval.best
    if name == default_config().eval.best:
        return by_name.get(name, criteria[0])
    return by_name[choose("config.eval.best", name, by_name)]


def control(config: Any, task: Task) -> Callable[[dict[str, Any], Figures], dict[str, float]] | None:
    """What the loop does after an evaluation on validation, for `Training.control`; None for nothing.

    `memory["stop"]` tells the loop to end, and is the reason. States that the task does not rank are passed over.

    Raises:
      UserError: for a figure that the task does not have.
    """
    plateau, stopping = config.plateau, config.early_stopping
    followed, by_name = {}, {figure.name: figure for figure in task.criteria}
    if plateau.figure:
        followed["plateau"] = functools.partial(
            schedules.plateau,
            factor=plateau.factor,
            patience=plateau.patience,
            threshold=plateau.threshold,
            cooldown=plateau.cooldown,
            min_scale=plateau.min_scale,
        )
    if stopping.figure:
        followed["early_stopping"] = functools.partial(
            schedules.early_stopping, patience=stopping.patience, threshold=stopping.threshold
        )
    if not followed:
        return None
    names = {"plateau": plateau.figure, "early_stopping": stopping.figure}
    figures_of = {key: by_name[choose(f"config.{key}.figure", names[key], by_name)] for key in followed}

    def after_evaluation(memory, figures):
        if not task.ranked(figures):
            return {}
        for key, follow in followed.items():
            figure = figures_of[key]
            memory[key] = follow(memory.get(key, {}), figures[figure.name], mode=figure.best)
        ended = memory.get("early_stopping", {}).get("stop", False)
        memory["stop"] = f"{names['early_stopping']} gets no better" if ended else False
        return {"lr_scale": memory["plateau"]["scale"]} if "plateau" in memory else {}

    return after_evaluation
