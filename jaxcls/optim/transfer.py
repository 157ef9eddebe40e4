"""Fine-tuning: which parts of a model are trained, and from which step on."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxcls import pytree
from jaxcls.errors import UserError
from jaxcls.hyperparameters import number
from jaxcls.models.stages import HEAD

ALL = "all"  # everything but the head
NEXT = re.compile(r",\s*(?=[\d.]+\s*(?:steps?|epochs?|%)?\s*:)")  # between two entries that came as one text


class Named(NamedTuple):
    """What an entry of a config names, and the regular expression that finds these parameters."""

    entry: str
    pattern: str


@dataclasses.dataclass(frozen=True)
class Timing:
    """From which step on parameters are trained; called as timing(name) -> step, None for never.

    Attributes:
      frozen: patterns of parameters that are never trained.
      unfreeze_at: (step, pattern) pairs; the first whose pattern is found counts, and parameters of none are trained
        from step 0 on. `frozen` goes before them.
    """

    frozen: tuple[str, ...] = ()
    unfreeze_at: tuple[tuple[int, str], ...] = ()

    def __call__(self, name: str) -> int | None:
        if any(re.search(pattern, name) for pattern in self.frozen):
            return None
        return next((step for step, pattern in self.unfreeze_at if re.search(pattern, name)), 0)


Parts = Callable[[], dict[str, str]]  # -> parameter name -> part (`models.stages.parts`)


def find(entries: Iterable[str], parts: Parts, what: str) -> list[Named]:
    """Parts of the model, or patterns on the names of parameters, as `Named` tuples.

    Args:
      entries: each "stem", "stage1", .., "head", "all" (everything but the head), or a regular expression that is
        searched for in the names of parameters. The word of a part goes before the pattern that it would be.
      parts: () -> parameter name -> part (`models.stages.parts`). Called if there are entries.
      what: the setting, in messages.

    Raises:
      UserError: with the nearest parts and names, for an entry that names nothing.
    """
    return [_named(entry, parts(), what) for entry in entries]


def _named(entry, parts, what):
    if not isinstance(entry, str):
        raise UserError(f"{what}: {entry!r} must be text: a part of the model, or a regular expression")
    last = max((int(part[5:]) for part in parts.values() if part.startswith("stage")), default=0)
    known = [ALL, "stem", *(f"stage{i}" for i in range(1, last + 1)), HEAD]
    if entry in known:
        names = [re.escape(name) for name, part in parts.items() if part == entry or (entry == ALL and part != HEAD)]
        return Named(entry, rf"^(?:{'|'.join(names)})$" if names else r"(?!)")  # a stage may be a pooling alone
    try:
        pytree.require_matches(parts, (entry,), what)
    except UserError as error:
        if re.fullmatch(r"[a-z]+\d*", entry):  # more like a part than like a pattern
            raise UserError(f"{what} {entry!r} is no part of the model: {', '.join(known)}, nor in a name") from error
        raise
    return Named(entry, entry)


def read(
    freeze: Sequence[str],
    unfreeze: Sequence[str],
    parts: Parts,
    steps: Callable[..., int],
    total: int,
    *,
    beside: bool = False,
) -> Timing:
    """The Timing of config.optim.freeze and config.optim.unfreeze.

    Args:
      freeze: what is never trained, entries as `find` has them.
      unfreeze: texts "DURATION: ENTRY", such as "25%: stage4": what is trained from then on. What stands in several
        counts with the first.
      parts: () -> parameter name -> part.
      steps: (duration, what=) -> steps.
      total: steps of the run.
      beside: whether more is trained than the model: then all of it may be frozen.

    Raises:
      UserError: for what names nothing, starts after the end of the run, or never starts since it is frozen.
    """
    what = "config.optim.unfreeze"
    frozen = tuple(named.pattern for named in find(freeze, parts, "config.optim.freeze"))
    if freeze and not beside and all(Timing(frozen)(name) is None for name in parts()):
        raise UserError(f"config.optim.freeze={freeze!r} leaves nothing to train; leave something out, such as 'head'.")
    unfreeze_at = []
    for text in (part for texts in unfreeze for part in NEXT.split(str(texts))):
        moment, colon, entry = text.partition(":")
        if not colon or not entry.strip():
            raise UserError(f"{what}: {text!r} must be 'DURATION: PART', as in '25%: stage4'.")
        (named,) = find((entry.strip(),), parts, what)
        step = steps(moment.strip(), what=what)
        if step >= total:
            raise UserError(
                f"{what}: {text!r} is step {step} of a run of {total}; make it earlier, or freeze the part."
            )
        names = [name for name in parts() if re.search(named.pattern, name)]
        if names and all(Timing(frozen)(name) is None for name in names):
            raise UserError(f"{what}: {text!r} is frozen for good by config.optim.freeze; remove it from one of them.")
        unfreeze_at.append((step, named.pattern))
    return Timing(frozen, tuple(unfreeze_at))


def multipliers(
    pairs: Iterable[Any], parts: Parts, timing: Timing, what: str = "config.optim.multipliers"
) -> list[tuple[str, float]]:
    """(entry, factor) pairs as (pattern, factor) pairs, for `optim.by_name`; entries as of `find`.

    Raises:
      UserError: for a pair that is none, or an entry that names nothing that is trained.
    """
    factors = []
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not isinstance(pair[1], (int, float)):
            raise UserError(f"{what}: {pair!r} must be a pair; write (('head', 10.0),) for one.")
        (named,) = find(pair[:1], parts, what)
        if not any(re.search(named.pattern, name) and timing(name) is not None for name in parts()):
            raise UserError(f"{what}: {pair[0]!r} names nothing that is trained; remove it.")
        factors.append((named.pattern, float(pair[1])))
    return factors


class GradualState(NamedTuple):
    """State of the inner optimiser, and the number of updates done (int32)."""

    inner: optax.OptState
    count: Any


def gradual(
    tx: optax.GradientTransformation, timing: Callable[[str], int | None]
) -> optax.GradientTransformationExtraArgs:
    """The optimiser, with no update for a parameter before its time (Howard and Ruder, ULMFiT, section 3.3).

    The state of a waiting parameter exists from the start and follows its gradients, so that the second moments of the
    Adam family know the size of the gradients when it starts, and there is one compiled step for the whole run: waiting
    saves no time (`freeze` does). Norms that clip count the gradients of waiting parameters. In the paper the layers
    are released one an epoch, the last one first. Counted are updates: steps that float16 skips are none.

    Args:
      tx: an optax transformation.
      timing: name of a parameter -> the number of the first update that changes it, None for never.
    """
    inner = optax.with_extra_args_support(tx)

    def init(params):
        return GradualState(inner.init(params), jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra):
        updates, new = inner.update(updates, state.inner, params, **extra)
        unfreeze_at = [number(timing(name), "optim.unfreeze") for name in pytree.flatten_names(updates)]
        leaves, structure = jax.tree.flatten(updates)
        kept = [u if not s else jnp.where(state.count >= s, u, 0) for u, s in zip(leaves, unfreeze_at, strict=True)]
        return jax.tree.unflatten(structure, kept), GradualState(new, state.count + 1)

    return optax.GradientTransformationExtraArgs(init, update)
