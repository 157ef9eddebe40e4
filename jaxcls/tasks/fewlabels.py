"""Learning with few labels: what the model is sure of about a picture without one is learnt as its label."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxcls import losses, metrics
from jaxcls.hyperparameters import inverse
from jaxcls.state import Aux, TrainState
from jaxcls.tasks.base import Wrapper
from jaxcls.tasks.supervised import Supervised, example_weights
from jaxcls.types import Batch, PyTree

PAIR = 2  # pictures with labels that stand together, so that micro-batches hold the same on any number of devices
PATIENCE = 500  # steps after which a model should be sure of something


class FewLabels(Wrapper):
    """The cross entropy of B pictures with labels, and `weight` times that of ratio * B with pseudo-labels.

    FixMatch (Sohn et al. 2020, arXiv 2001.07685, eq. 2 to 4) with `strong`: from its weak view a picture without a
    label gets the class that the model is most sure of, q, and its strong view learns it where q >= threshold:

        1/B sum H(p, weak) + weight / (ratio B) sum 1[max q >= threshold] H(argmax q, strong)

    Without `strong` the same view learns it: Lee 2013, Pseudo-Label, with a threshold in place of his schedule of
    weights. No gradient passes through q. All pictures and views go through the net as one batch in training mode, of
    which BatchNorm sees the whole, as in the authors' code, and q is of the weights that are trained (an average only
    answers).

    A batch is made of blocks of 2 pictures with labels and 2 * ratio without, and so is each device's share and each
    micro-batch of it (data.sampling.TwoParts). What is summed is divided by B at last, the number of labels; that of
    pictures without is ratio times it, so their sum is divided by ratio here. `weight` of examples counts in both.

    Args:
      inner: a Supervised.
      ratio: pictures without a label for each with one (mu).
      weight: lambda_u.
      threshold: tau.
      temperature: above 0: the target is softmax(logits / temperature) in place of the class.
      strong: whether a batch has two views of each picture, the second of which learns the pseudo-label.
      known: whether a batch has a leaf "truth" whose labels the pseudo-labels are compared with.
    """

    inner: Supervised

    def __init__(
        self,
        inner: Supervised,
        *,
        ratio: int = 7,
        weight: float = 1.0,
        threshold: float = 0.95,
        temperature: float = 0.0,
        strong: bool = True,
        known: bool = True,
    ):
        super().__init__(inner)
        self.ratio, self.weight, self.threshold = ratio, weight, threshold
        self.temperature, self.strong, self.known = temperature, strong, known
        self.multiple = PAIR * (1 + ratio)

    def loss(self, params: PyTree, state: TrainState, batch: Batch, rng: Array) -> tuple[Float[Array, ""], Aux]:
        """Summed loss of a batch; with `strong` its views are float [n, 2, h, w, c], of which `image` is the first.

        Metrics: accuracy of the pictures with labels; of those without "confident", the share that is above the
        threshold, "unlabelled_loss", and, with `known`, "pseudo_accuracy" of those above the threshold whose truth is
        not -1. It is learnt by nothing.
        """
        weak = self.blocks(batch["image"])
        strong = self.blocks(batch["views"][:, 1])[:, PAIR:] if self.strong else weak[:, :0]
        images = jnp.concatenate([weak, strong], axis=1)  # within blocks, so that a batch stays cut where it was
        everything = {**batch, "image": images.reshape(-1, *images.shape[2:])}
        (logits, out), model_state = self.inner.forward(params, state, everything, rng)
        size = images.shape[1]
        with_label = lambda x: _flat(x.reshape(-1, size, x.shape[-1])[:, :PAIR])  # noqa: E731
        own, bare, learner = self.parts(logits)
        label, _ = self.cut(batch["label"])
        auxiliary = {"aux_logits": [with_label(x) for x in out.get("aux_logits", ())]}
        loss, label_weight = self.inner.example_loss(own, auxiliary, label)
        (mask, bare_mask), (weight, bare_weight) = map(self.cut, example_weights(batch))
        guess, sure, each = self.pseudo_loss(bare, learner)
        unlabelled = jnp.sum(bare_weight * sure * each)
        figures = {
            "accuracy": (jnp.sum(mask * metrics.correct(own, label)), jnp.sum(mask)),
            "confident": (jnp.sum(bare_mask * sure), jnp.sum(bare_mask)),
            "unlabelled_loss": (unlabelled, jnp.sum(bare_weight)),
        }
        if self.known:
            truth = self.cut(batch["truth"])[1]
            known = bare_mask * sure * (truth >= 0)
            figures["pseudo_accuracy"] = jnp.sum(known * (guess == truth)), jnp.sum(known)
        total = jnp.sum(weight * loss) + self.weight * unlabelled / self.ratio
        return total, Aux(model_state, jnp.sum(weight * label_weight), figures)

    def pseudo_loss(
        self, bare: Float[Array, "m classes"], learner: Float[Array, "m classes"]
    ) -> tuple[Array, Float[Array, " m"], Float[Array, " m"]]:
        """(pseudo-label int [m], 1.0 where it is above the threshold, cross entropy of `learner` with it).

        `bare`: logits that give the pseudo-label; `learner`: those that learn it.
        """
        bare = jax.lax.stop_gradient(bare.astype(jnp.float32))
        guess, sure = jnp.argmax(bare, axis=-1), jnp.max(jax.nn.softmax(bare), axis=-1) >= self.threshold
        target = jax.nn.softmax(bare * inverse(self.temperature)) if self.temperature else guess
        return guess, sure.astype(jnp.float32), losses.cross_entropy(learner, target)

    def blocks(self, x: Array) -> Array:
        """An array of a batch [n, ...] as [blocks, 2 * (1 + ratio), ...]."""
        return x.reshape(-1, self.multiple, *x.shape[1:])

    def cut(self, x: Array) -> tuple[Array, Array]:
        """(entries of pictures with labels, of those without) of an array of a batch [n, ...]."""
        blocks = self.blocks(x)
        return _flat(blocks[:, :PAIR]), _flat(blocks[:, PAIR:])

    def parts(self, logits: Float[Array, "rows classes"]) -> tuple[Array, Array, Array]:
        """Logits of pictures with labels, of those without, and of what learns pseudo-labels."""
        bare = self.ratio * PAIR
        blocks = logits.reshape(-1, self.multiple + self.strong * bare, logits.shape[-1])
        weak = _flat(blocks[:, PAIR : PAIR + bare])
        return _flat(blocks[:, :PAIR]), weak, _flat(blocks[:, PAIR + bare :]) if self.strong else weak

    def remark(self, means: Mapping[str, float], step: int) -> str:
        """A line where no pseudo-label is learnt, or most that are known are wrong."""
        if step >= PATIENCE and means.get("confident", 1.0) == 0:
            return (
                f"at step {step} the model is of no picture without a label as sure as config.few.threshold="
                f"{float(self.threshold):g}: they teach nothing; lower it, or train longer (docs/few_labels.md)"
            )
        if step >= PATIENCE and means.get("pseudo_accuracy", 1.0) < 0.5:
            return (
                f"at step {step} {1 - means['pseudo_accuracy']:.0%} of the pseudo-labels that are learnt are wrong; "
                "raise config.few.threshold, or give more labels (docs/few_labels.md)"
            )
        return ""


def _flat(blocks: Any) -> Array:
    """[blocks, k, ...] as [blocks * k, ...]."""
    return blocks.reshape(-1, *blocks.shape[2:])
