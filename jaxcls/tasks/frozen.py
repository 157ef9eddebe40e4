"""A wrapper for fine-tuning: what is frozen gets no gradient, and its BatchNorm works as in inference."""

import functools
import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcls import pytree
from jaxcls.tasks.base import Wrapper


class Frozen(Wrapper):
    """A task of which some parameters are not trained, or not from the start.

    Frozen parameters are constants to differentiation, so no backward pass is computed below the first layer that is
    trained. BatchNorm whose own parameters are all frozen normalises by its running statistics and leaves them as they
    are, until it is trained; one without parameters goes with the module around it. That the parameters themselves stay
    is the optimiser's part (`optim.freeze`, `transfer.gradual`). Goes around all other wrappers.

    Args:
      inner: the task.
      timing: name of a parameter -> the first step that trains it (0: from the start), None for never.
    """

    def __init__(self, inner, timing):
        super().__init__(inner)
        self.timing = timing

    def loss(self, params, state, batch, rng):
        """The inner task's."""
        starts = {name: self.timing(name) for name in pytree.flatten_names(params)}
        leaves, structure = jax.tree.flatten(params)
        held = [
            jax.lax.stop_gradient(x) if start is None else x for x, start in zip(leaves, starts.values(), strict=True)
        ]
        hold = functools.partial(_hold_batch_norm, starts=starts, step=state.step)
        with nn.intercept_methods(hold):
            return self.inner.loss(jax.tree.unflatten(structure, held), state, batch, rng)


def norm_start(path, starts):
    """The first step in which the statistics of a BatchNorm move; infinite for never.

    Args:
      path: of the module, as a tuple.
      starts: parameter name -> first step, None for never.
    """
    for length in range(len(path), 0, -1):
        below = "/".join(path[:length]) + "/"
        found = [math.inf if start is None else start for name, start in starts.items() if name.startswith(below)]
        if found:
            return min(found)
    return 0


def _hold_batch_norm(call, args, kwargs, context, *, starts, step):
    """Interceptor of Flax for calls of modules: BatchNorm in inference mode until its first step."""
    module = context.module
    if not isinstance(module, nn.BatchNorm) or context.method_name != "__call__":
        return call(*args, **kwargs)
    start = norm_start(module.path, starts)
    if not start or module.use_running_average or kwargs.get("use_running_average"):
        return call(*args, **kwargs)
    held = _in_inference(module, call, args, kwargs)
    if start == math.inf:
        return held
    object.__setattr__(module, "scope", module.scope.rewound())  # a second call of the same layer, same parameters
    names = ("mean", "var")
    before = {name: module.get_variable("batch_stats", name) for name in names}
    trained = call(*args, **kwargs)
    for name in names:
        after = module.get_variable("batch_stats", name)
        module.put_variable("batch_stats", name, jnp.where(step >= start, after, before[name]))
    return jnp.where(step >= start, trained, held)


def _in_inference(module, call, args, kwargs):
    """The call with the running statistics, whether the module or the call says which to use."""
    own = module.use_running_average
    object.__setattr__(module, "use_running_average", None)  # a bound module is frozen; Flax refuses to be told twice
    try:
        return call(*args, **{**kwargs, "use_running_average": True})
    finally:
        object.__setattr__(module, "use_running_average", own)
