"""The gradient-noise scale: from how many pictures on a larger batch hardly makes a better step."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float

from jaxcls.state import Aux, TrainState
from jaxcls.tasks.base import Task, Wrapper
from jaxcls.types import Batch, PyTree

NAME = "noise_scale"


class NoiseScale(Wrapper):
    """Measures the simple noise scale tr(S) / |G|^2 (McCandlish et al., An Empirical Model of Large-Batch Training,
    section 2.2: G the gradient of the mean loss, S the covariance of one picture's), in pictures, as a metric.

    At a batch of so many pictures a step brings half of what it would with the exact gradient (there, equation 2.7):
    far below it, doubling the batch and the rate saves nearly half of the steps, far above it nothing.

    Where we differ: the paper takes |g|^2 of two sizes of batch from the devices' gradients. Here a batch is cut into
    halves of b pictures, independent of each other, so the product of their gradients is |G|^2 in the mean and their
    mean square |G|^2 + tr(S) / b; the metric is a sum and a count, so over a log line it is the quotient of the sums,
    as there of the averages. It knows no devices, and costs a second forward and backward pass where it is measured.

    Args:
      inner: a task whose loss is a sum over pictures.
      every: steps from one measurement to the next.
    """

    def __init__(self, inner: Task, every: int):
        super().__init__(inner)
        self.every, self.multiple = every, 2 * inner.multiple

    def loss(self, params: PyTree, state: TrainState, batch: Batch, rng: Array) -> tuple[Float[Array, ""], Aux]:
        """As the inner task, with the metric."""
        loss, aux = self.inner.loss(params, state, batch, rng)
        fixed = jax.lax.stop_gradient(params)  # what is measured has no part in what is learned
        measure = lambda: self._measured(fixed, state, batch, rng)  # noqa: E731
        nothing = lambda: (jnp.float32(0), jnp.float32(0))  # noqa: E731
        value = measure() if self.every == 1 else jax.lax.cond(state.step % self.every == 0, measure, nothing)
        return loss, aux.replace(metrics={**aux.metrics, NAME: value})

    def _measured(self, params, state, batch, rng):
        """(b * (mean square - product), product) of the gradients of both halves."""

        def mean_loss(params, rows):
            loss, aux = self.inner.loss(params, state, rows, rng)
            return loss / jnp.where(aux.count > 0, aux.count, 1.0)

        first, second = (jax.grad(mean_loss)(params, half) for half in halves(batch))
        product = optax.tree.vdot(first, second)
        square = (optax.tree.norm(first, squared=True) + optax.tree.norm(second, squared=True)) / 2
        b = next(iter(batch.values())).shape[0] // 2
        return (b * (square - product)).astype(jnp.float32), product.astype(jnp.float32)


def halves(batch: Batch) -> tuple[dict[str, Any], dict[str, Any]]:
    """A batch dealt into two, pairs of neighbours (mixed with each other) in turn, so that both halves are of all
    devices and no picture moves."""

    def cut(x):
        group = 2 if x.shape[0] % 4 == 0 else 1
        x = x.reshape(x.shape[0] // (2 * group), 2, group, *x.shape[1:])
        return [x[:, i].reshape(-1, *x.shape[3:]) for i in (0, 1)]

    dealt = {name: cut(x) for name, x in batch.items()}
    first, second = ({name: parts[i] for name, parts in dealt.items()} for i in (0, 1))
    return first, second
