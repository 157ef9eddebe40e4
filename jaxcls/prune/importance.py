"""How much the units of a group matter, from the parameters: the higher, the more."""

import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jaxcls.errors import UserError, did_you_mean, listed
from jaxcls.prune.groups import Group, Member

Arrays = Mapping[str, np.ndarray]


def importance(
    group: Group, how: str, variables: Arrays, *, gradients: Arrays | None = None, seed: int = 0
) -> np.ndarray:
    """`[units]`, summed over the group's parameters (running statistics are none).

    Args:
      group: of `groups.find`.
      how: "l1", the mean of |w| over a unit's entries (Li et al. 2016, arXiv 1608.08710, has their sum; the mean lets a
        norm's scale count beside a kernel); "l2", the root of the mean of w^2; "bn", |scale| of its BatchNorms (Liu et
        al. 2017, arXiv 1708.06519); "taylor", the sum of |w * gradient| (Molchanov et al. 2019, arXiv 1906.10771, have
        squares); "random", the control.
      variables: name -> array.
      gradients: name -> gradient of the loss, for "taylor".
      seed: of "random"; groups draw apart.

    Raises:
      UserError: for another `how`, "bn" of a group without BatchNorm, "taylor" without gradients.
    """
    if how not in HOW:
        raise UserError(f"importance must be one of {listed(HOW)}, not {how!r}{did_you_mean(how, HOW)}")
    if how == "random":
        return np.random.default_rng([seed, zlib.crc32(_title(group).encode())]).random(group.units)
    members = [member for member in group.members if member.name.startswith("params/")]
    if how == "bn":
        members = batch_norm_scales(group)
        if not members:
            raise UserError(f"the group of {group.name} has no BatchNorm whose scale could be its importance; use l1")
    if how == "taylor" and gradients is None:
        raise UserError("importance taylor wants the gradients of the loss")
    return np.sum([MEASURES[how](member, variables, gradients or {}) for member in members], axis=0)


def relative(scores: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Scores of several groups, each over its group's mean: for a comparison of groups whose weights differ in size.

    A group of zeros stays zeros.
    """
    return [score / mean if (mean := np.mean(score)) else np.asarray(score) for score in scores]


def batch_norm_scales(group: Group) -> list[Member]:
    """The scales of a group's BatchNorms: those with running statistics beside them."""
    running = {
        member.name.split("/", 1)[1].rpartition("/")[0]
        for member in group.members
        if member.name.startswith("batch_stats/")
    }
    scales = {f"params/{module}/scale" for module in running}
    return [member for member in group.members if member.name in scales]


def _title(group):
    return " ".join(f"{member.name}:{member.axis}:{member.places.ravel()[0]}" for member in group.members)


def _by_place(array, axis, function):
    """A mean or sum over all axes but one."""
    return function(np.asarray(array, np.float64), axis=tuple(i for i in range(np.ndim(array)) if i != axis))


def _l1(member, variables, gradients):
    return _by_place(np.abs(variables[member.name]), member.axis, np.mean)[member.places].mean(1)


def _l2(member, variables, gradients):
    squares = np.square(np.asarray(variables[member.name], np.float64))
    return np.sqrt(_by_place(squares, member.axis, np.mean)[member.places].mean(1))


def _taylor(member, variables, gradients):
    product = np.asarray(variables[member.name], np.float64) * np.asarray(gradients[member.name], np.float64)
    return _by_place(np.abs(product), member.axis, np.sum)[member.places].sum(1)


MEASURES: dict[str, Callable] = {"l1": _l1, "l2": _l2, "bn": _l1, "taylor": _taylor}
HOW = (*MEASURES, "random")
