"""Sparsity in training (config.sparsity): the part of `build` that reads this section."""

import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxcls import pytree
from jaxcls.errors import UserError, listed
from jaxcls.hyperparameters import Section
from jaxcls.optim import schedules, transfer
from jaxcls.settings.reader import choose
from jaxcls.tasks.base import Task
from jaxcls.tasks.sparse import Penalty, Slice, Sparse, group_lasso, l1
from jaxcls.tasks.sparse_masks import Magnitude, TwoOfFour
from jaxcls.training.model import Model

KERNEL = re.compile(r"kernel$|_weight$")  # parameters that products and convolutions weigh with
PATTERNS = ("2:4",)
SCOPES = ("local", "global")  # as of pruning

Kept = Callable[[str], bool]  # name of a parameter -> whether it is left alone


def wrapper(
    config: Any, model: Model, total: int, steps_per_epoch: int, when: transfer.Timing
) -> Callable[[Task], Task]:
    """What config.sparsity puts around a task: nothing, or `Sparse`. Frozen parameters are left alone.

    Args:
      config: a Reader.
      model: of the run; it is traced where the section asks for something.
      total, steps_per_epoch: of the run, in steps.
      when: parameters are trained.

    Raises:
      UserError: for settings that have nothing to act on, or do not go together.
    """
    section = config.sparsity
    penalised = any((section.bn, section.group, section.weights))
    if section.magnitude and section.pattern:
        raise UserError("config.sparsity.magnitude and config.sparsity.pattern both choose the zeros; leave one out.")
    if not (penalised or section.magnitude or section.pattern):
        return lambda task: task
    named = [name.pattern for name in transfer.find(section.keep, lambda: model.parts, "config.sparsity.keep")]
    kept = lambda name: when(name) is None or any(re.search(pattern, name) for pattern in named)  # noqa: E731
    image = jax.ShapeDtypeStruct((2, *model.data.picture), np.float32)
    variables = jax.eval_shape(lambda key, x: model.module.init(key, x, train=False), jax.random.key(0), image)
    shapes = {name: leaf.shape for name, leaf in pytree.flatten_names(variables["params"]).items()}
    kernels = {name: shape for name, shape in shapes.items() if KERNEL.search(name) and not kept(name)}
    if not kernels and (section.weights or section.magnitude or section.pattern):
        raise UserError("config.sparsity: optim.freeze and sparsity.keep leave no kernel; leave something out.")
    steps = functools.partial(schedules.steps, steps_per_epoch=steps_per_epoch, total=total)
    masks, about = None, ""
    if section.magnitude:
        masks = _magnitude(section, kernels, steps, total)
    elif section.pattern:
        masks, about = _pattern(section, kernels, steps, total)
    return functools.partial(
        Sparse, penalties=_penalties(section, model, variables, kernels, kept), masks=masks, about=about
    )


def _penalties(section, model, variables, kernels, kept):
    """(weight, penalty) pairs."""
    weights, found = Section(section, "sparsity"), []
    if section.bn:
        found.append((weights.bn, l1(_scales(model, variables, kept))))
    if section.group:
        found.append((weights.group, _groups(model, kept)))
    if section.weights:
        found.append((weights.weights, l1(list(kernels))))
    return found


def _scales(model: Model, variables: Mapping[str, Any], kept: Kept) -> list[str]:
    """The scales of BatchNorms: of norms that have running statistics."""
    running = pytree.flatten_names(variables.get("batch_stats", {}))
    modules = dict.fromkeys(name.rpartition("/")[0] for name in running)
    params = pytree.flatten_names(variables["params"])
    scales = [name for module in modules if (name := f"{module}/scale") in params]
    if not scales:
        raise UserError(
            f"config.sparsity.bn has no effect: {model.name} has no BatchNorm with scales; use sparsity.group."
        )
    if not (free := [name for name in scales if not kept(name)]):
        raise UserError("config.sparsity.bn: optim.freeze and sparsity.keep leave no BatchNorm; leave something out.")
    return free


def _groups(model: Model, kept: Kept) -> Penalty:
    """The group lasso of what pruning would take away: the entries that units of channel groups make."""
    from jaxcls.prune import groups

    slices, (height, width, channels) = [], model.data.picture
    for group in groups.find(model.module, (height, width, channels)).prunable:
        made = [member for member in group.members if not member.consumes and member.name.startswith("params/")]
        own = [Slice(member.name.removeprefix("params/"), member.axis, member.places) for member in made]
        if own and not any(kept(each.name) for each in own):
            slices.append(own)
    if not slices:
        raise UserError(
            f"config.sparsity.group has no effect: no channels of {model.name} may go, but for what optim.freeze and "
            "sparsity.keep hold; use sparsity.weights."
        )
    return group_lasso(slices)


def _magnitude(section, kernels, steps, total):
    scope = choose("config.sparsity.scope", section.scope, SCOPES)
    begin, end = (steps(getattr(section, key), what=f"config.sparsity.{key}") for key in ("begin", "end"))
    end, every = max(end, 1), steps(section.every, what="config.sparsity.every")
    if end < begin or end > total:
        raise UserError(
            f"config.sparsity.end is step {end}; it must come after config.sparsity.begin ({begin}) and within the "
            f"{total} steps of the run."
        )
    sizes = {name: math.prod(shape) for name, shape in kernels.items()}
    return Magnitude(sizes, section.magnitude, scope == "global", begin, end, max(every, 1))


def _pattern(section, kernels, steps, total):
    """(masks, what is told of kernels that they leave)."""
    choose("config.sparsity.pattern", section.pattern, PATTERNS)
    begin = max(steps(section.begin, what="config.sparsity.begin"), 1)
    if begin > total:
        raise UserError(f"config.sparsity.begin is step {begin} of {total}; make it earlier.")
    axes = {name: axis for name, shape in kernels.items() if (axis := _inputs(name, shape)) is not None}
    left = [name for name in kernels if name not in axes]
    if not axes:
        raise UserError("config.sparsity.pattern='2:4' has no effect: no kernel has a multiple of 4 inputs.")
    sizes = {name: math.prod(shape) for name, shape in kernels.items()}
    about = f" ({listed(left[:5])}: inputs are no multiple of 4, left as they are)" if left else ""
    return TwoOfFour(axes, sizes, begin), about


def _inputs(name, shape):
    """The axis of a kernel's inputs where they can be cut into fours; None where they can't."""
    axis = 1 if name.endswith("_weight") else len(shape) - 2  # PyTorch's layout, [out, in]
    return axis if len(shape) in (2, 4) and shape[axis] % 4 == 0 else None
