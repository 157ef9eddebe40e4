"""MoCo, first and second version: a queue of keys of earlier batches, made by a slow encoder, as negatives."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jaxcls import losses, parallel
from jaxcls.state import Aux, TrainState
from jaxcls.tasks.ssl.frame import PROJECTOR, similarities, spread, unit
from jaxcls.tasks.ssl.heads import Mlp
from jaxcls.tasks.ssl.slow import SLOW, SLOW_STATE, WithSlow
from jaxcls.types import Batch, PyTree

QUEUE = "queue"  # entry of TrainState.extra
SHUFFLE = 0x6D6F636F  # what the run's key is folded with for the order of the keys


def heads(projector: tuple[int, ...], types: dict[str, Any]) -> dict[str, Mlp]:
    """The projector: one layer in the first version (128), two with ReLU in the second (features', 128); no norms."""
    return {"_projector": Mlp(projector, **types)}


class MoCo(WithSlow):
    """InfoNCE of queries against their keys and a queue of keys (He et al., Momentum Contrast, algorithm 1; Chen et
    al., Improved Baselines with Momentum Contrastive Learning).

    The queue is read before the keys of the batch enter it. Its oldest keys are overwritten, so batches divide it.

    Args:
      temperature: 0.07 in the first version, 0.2 in the second.
      queue: keys.
      symmetric: each view is the query once, and both views' keys enter the queue; the losses are added. (The authors'
        CIFAR-10 notebook; the papers have one query a picture.)
      shuffle: the keys' encoder sees the batch in another order (section 3.3): where BatchNorm has statistics by group,
        a query's group must not be its key's.
      **frame: of `WithSlow`.
    """

    def __init__(
        self,
        *args: Any,
        temperature: float = 0.2,
        queue: int = 65536,
        symmetric: bool = False,
        shuffle: bool = False,
        **frame: Any,
    ):
        super().__init__(*args, **frame)
        self.temperature, self.queue, self.symmetric, self.shuffle = temperature, queue, symmetric, shuffle

    def init(self, rng: Array, batch: Batch, weights: PyTree = None) -> tuple[PyTree, PyTree, dict[str, PyTree]]:
        """As `WithSlow`, with a queue of random unit vectors [queue, d]."""
        params, model_state, extra = super().init(rng, batch, weights)
        width = self.heads[PROJECTOR].widths[-1] or extra[SLOW][PROJECTOR]["dense0"]["kernel"].shape[0]
        queue = unit(jax.random.normal(jax.random.fold_in(rng, SHUFFLE), (self.queue, width)))
        return params, model_state, {**extra, QUEUE: queue}

    def loss(self, params: PyTree, state: TrainState, batch: Batch, rng: Array) -> tuple[Float[Array, ""], Aux]:
        """InfoNCE summed over queries; the keys go on to `after_update`."""
        views, model_state, slow_state = batch["views"], state.model_state, state.extra[SLOW_STATE]
        n, total = len(views), jnp.float32(0)
        seen: list[Any] = []
        keys: list[Array] = []
        told: list[dict[str, Array]] = []
        for query, key in ((0, 1), (1, 0))[: 2 if self.symmetric else 1]:
            one = self.see({"params": params, **model_state}, views[:, query], rng)
            other, slow_state = self.keys(slow_state, state, views[:, key], rng)
            model_state = one.model_state
            loss, means = info_nce(unit(one.z), other, state.extra[QUEUE], self.temperature)
            total += jnp.sum(loss)
            seen, keys, told = [*seen, one], [*keys, other], [*told, means]
        probe, hits = self.probing(seen, batch)
        count = jnp.float32(n)
        figures: dict[str, Any] = {name: (sum(each[name] for each in told) / len(told) * n, count) for name in told[0]}
        chance = len(seen) * count * jnp.log(jnp.float32(self.queue + 1))
        figures |= {**hits, "spread": spread(seen[0].z), "chance": (chance, count)}
        carry = jnp.stack(keys, axis=1)
        return total + probe, Aux(model_state, count, figures, carry, {SLOW_STATE: slow_state})

    def keys(self, slow_state: PyTree, state: TrainState, image: Array, rng: Array) -> tuple[Array, PyTree]:
        """(unit keys [n, d] of pictures, in their order; the slow encoder's collections after that)."""
        if not self.shuffle:
            seen = self.see_slowly(slow_state, state, image, rng)
            return unit(seen.z), seen.model_state
        n, place = len(image), parallel.axis_index(self.axis_name)
        everything = parallel.all_gather(image, self.axis_name)
        order = shuffled(state, len(everything))
        seen = self.see_slowly(slow_state, state, everything[_share(order, place, n)], rng)
        mixed = parallel.all_gather(unit(seen.z), self.axis_name)
        return mixed[_share(jnp.argsort(order), place, n)], seen.model_state

    def after_update(self, state: TrainState, aux: Aux) -> TrainState:
        """Moves the slow encoder, and puts the keys of the batch into the queue, in its order on any devices."""
        state = super().after_update(state, aux)
        new = parallel.all_gather(aux.carry, self.axis_name)
        new = new.reshape(-1, new.shape[-1])
        start = (state.step - 1) * len(new) % self.queue
        queue = jax.lax.dynamic_update_slice(state.extra[QUEUE], new, (start, 0))
        return state.replace(extra={**state.extra, QUEUE: queue})


def shuffled(state: TrainState, n: int) -> Int[Array, " n"]:
    """An order of n rows, another one each step, the same on all devices."""
    return jax.random.permutation(jax.random.fold_in(jax.random.fold_in(state.rng, state.step), SHUFFLE), n)


def _share(order, place, n):
    """The n entries of an order that the device at this place has."""
    return jax.lax.dynamic_slice(order, (place * n,), (n,))


def info_nce(
    query: Float[Array, "n d"], key: Float[Array, "n d"], queue: Float[Array, "k d"], temperature: float
) -> tuple[Float[Array, " n"], dict[str, Array]]:
    """(cross entropy of each query's key among itself and the queue, by cosines / temperature; means of what is told).

    All are unit vectors, float32; no gradient goes to keys and queue.
    """
    key, queue = jax.lax.stop_gradient((key, queue))
    positive, negative = jnp.sum(query * key, axis=1, keepdims=True), similarities(query, queue)
    logits = jnp.concatenate([positive, negative], axis=1) / temperature
    told = {"positives": jnp.mean(positive), "negatives": jnp.mean(negative)}
    told["found"] = jnp.mean(positive[:, 0] > jnp.max(negative, axis=1))
    return losses.cross_entropy(logits, jnp.zeros(len(query), jnp.int32)), told
