"""A controller of independent categorical choices, taught by REINFORCE (Williams 1992).

As in TuNAS (Bender et al. 2020, arXiv 2008.06120, section 3 and appendix; its code): logits from zero, the reward's
exponential average as the baseline, Adam with beta1 = 0, no update during the first quarter of the run, afterwards a
rate that grows tenfold. Where we differ: the baseline begins with the first reward, Adam's moments do not move before
the first update either, and the rate is as it is given, not for a batch of 256.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

QUIET = 0.25  # of the run: no update, and operations are warmed up
GROWTH = 10.0  # of the rate from the first update to the last
BASELINE = 0.95  # share of the average reward that stays
BETA2, EPSILON = 0.999, 1e-8  # of Adam
NEVER = -1e9  # the logit of an option that a decision does not have
ROWS = 100  # of the history of probabilities
REWARDS = ("abs", "mnas")

Memory = dict[str, Any]  # what the controller carries from step to step, as arrays


@dataclasses.dataclass(frozen=True)
class Controller:
    """How choices are drawn and learnt.

    Attributes:
      sizes: number of options of each decision.
      rate: of Adam at the first update; a float, or a `hyperparameters.Number`.
      total: steps of the run.
    """

    sizes: tuple[int, ...]
    rate: Any = 3e-4
    total: int = 1

    @property
    def quiet(self) -> int:
        """Steps without an update."""
        return int(QUIET * self.total)

    def fresh(self) -> Memory:
        """The memory of step 0: every option is as likely as any other."""
        zeros = jnp.zeros((len(self.sizes), max(self.sizes)), jnp.float32)
        scalar = lambda: jnp.zeros((), jnp.float32)  # noqa: E731  arrays of their own: each is donated
        return {
            "logits": zeros,
            "moment": jnp.zeros_like(zeros),
            "updates": scalar(),
            "baseline": scalar(),
            "rewards": scalar(),
            "history": jnp.zeros((ROWS, *zeros.shape), jnp.float32),
        }

    def log_probabilities(self, logits: Float[Array, "d m"]) -> Float[Array, "d m"]:
        """Of each option; NEVER or less where a decision has fewer."""
        there = np.arange(max(self.sizes)) < np.array(self.sizes)[:, None]
        return jax.nn.log_softmax(jnp.where(there, logits, NEVER), axis=-1)

    def draw(self, memory: Memory, key: Array) -> Int[Array, " d"]:
        """A choice."""
        return jax.random.categorical(key, self.log_probabilities(memory["logits"]), axis=-1)

    def best(self, memory: Memory) -> Int[Array, " d"]:
        """The most likely choice."""
        return jnp.argmax(self.log_probabilities(memory["logits"]), axis=-1)

    def warm(self, choice: Int[Array, " d"], most: Any, step: Array, key: Array) -> Int[Array, " d"]:
        """The choice whose weights learn: each decision is `most`, all on, with a probability that falls from 1 to 0
        over the first quarter."""
        share = 1.0 - step / max(1, self.quiet) if self.quiet else 0.0
        return jnp.where(jax.random.uniform(key, choice.shape) < share, jnp.asarray(most, choice.dtype), choice)

    def rate_at(self, step: Array) -> Float[Array, ""]:
        """Of Adam in a step: 0 during the first quarter, then growing by the power of the progress."""
        progress = (step - self.quiet) / max(1, self.total - self.quiet)
        return jnp.where(step < self.quiet, 0.0, self.rate * GROWTH**progress)

    def gradient(
        self, logits: Float[Array, "d m"], choice: Int[Array, " d"], advantage: Float[Array, ""]
    ) -> Float[Array, "d m"]:
        """Of -advantage * log p(choice), whose mean over choices is that of minus the expected reward."""

        def surrogate(logits):
            log_p = self.log_probabilities(logits)
            return -advantage * jnp.sum(jnp.take_along_axis(log_p, choice[:, None], axis=-1))

        return jax.grad(surrogate)(logits)

    def learn(self, memory: Memory, choice: Int[Array, " d"], reward: Float[Array, ""], step: Array) -> Memory:
        """The memory after the reward of a choice; `step`: that is done, from 0 on."""
        baseline = jnp.where(memory["rewards"] > 0, memory["baseline"], reward)
        grad = self.gradient(memory["logits"], choice, reward - baseline)
        now = (step >= self.quiet).astype(jnp.float32)
        updates = memory["updates"] + now
        moment = jnp.where(now > 0, BETA2 * memory["moment"] + (1 - BETA2) * jnp.square(grad), memory["moment"])
        unbiased = moment / jnp.maximum(1 - BETA2**updates, 1e-12)
        logits = memory["logits"] - now * self.rate_at(step) * grad / (jnp.sqrt(unbiased) + EPSILON)
        row = jnp.minimum(step * ROWS // self.total, ROWS - 1)
        return {
            "logits": logits,
            "moment": moment,
            "updates": updates,
            "baseline": BASELINE * baseline + (1 - BASELINE) * reward,
            "rewards": memory["rewards"] + 1,
            "history": memory["history"].at[row].set(jnp.exp(self.log_probabilities(logits))),
        }


def reward(kind: str, quality: Any, ratio: Any, beta: Any) -> Any:
    """What a net is worth: its quality (a share) and its cost by the target, `ratio`.

    "abs": quality + beta |ratio - 1| (TuNAS, section 4); "mnas": quality * ratio^beta (Tan et al. 2018, MnasNet,
    equation 2, with one exponent). `beta` is not positive.
    """
    if kind == "mnas":
        return quality * ratio**beta
    return quality + beta * abs(ratio - 1.0)
