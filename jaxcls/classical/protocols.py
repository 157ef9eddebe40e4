"""Linear classification on frozen features by SGD, as the papers of self-supervised training do it.

Their rates differ by a factor of 300, so a figure means little without the name of its protocol. They train on pictures
cropped and flipped at random; here features are of pictures without augmentation, computed once. `TRAINED` is the
command that augments.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxcls.types import Note

Split = tuple[np.ndarray, np.ndarray]  # (features float32 [n, d], labels int32 [n])
MOMENTUM = 0.9  # of all
TRAINED = (
    "jaxcls train --config=folder --data=DATA --config.model.pretrained=RUN --config.optim.freeze=all "
    "--config.optim.weight_decay=0 --config.schedule.warmup='' --config.duration='100 epochs'"
)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a classifier of frozen features is trained; no protocol has decay or a warm-up.

    Attributes:
      rate: the highest, for 256 pictures a batch; it grows with the batch (`batch`, less where there are fewer).
      epochs: passes; what fills no batch at the end of one is left out.
      nesterov: form of the momentum.
      shape: (steps or epochs done, of how many) -> factor of the rate.
      by_epoch: whether the rate changes with each epoch; else with each step.
      start: kernels at the beginning: "zero", "normal" (deviation 0.01) or "uniform" (PyTorch's, offsets too).
      best: whether the highest accuracy of all epochs is told beside that of the last one.
      source: whence all this is.
    """

    rate: float
    batch: int
    epochs: int
    shape: Callable[[int, int], float]
    source: str
    nesterov: bool = False
    by_epoch: bool = False
    start: str = "uniform"
    best: bool = False


def _cosine(done, total):
    return 0.5 * (1 + np.cos(np.pi * done / total))


PROTOCOLS = {
    "simclr": Protocol(
        rate=0.1,
        batch=512,
        epochs=100,
        shape=_cosine,
        nesterov=True,
        start="zero",
        source="google-research/simclr, README: --learning_rate=0.1, which its code multiplies by batch / 256",
    ),
    "moco": Protocol(
        rate=30.0,
        batch=256,
        epochs=100,
        shape=lambda epoch, _: 0.1 ** ((epoch >= 60) + (epoch >= 80)),
        by_epoch=True,
        start="normal",
        source="facebookresearch/moco, main_lincls.py",
    ),
    "lightly": Protocol(
        rate=0.1,
        batch=256,
        epochs=90,
        shape=lambda step, steps: _cosine(step, max(1, steps - 1)),
        best=True,
        source="lightly 1.6.0, utils/benchmarking/linear_classifier.py",
    ),
}


@dataclasses.dataclass(frozen=True)
class Softmax:
    """A fitted classifier: `kernel` [d, classes], `offsets` [classes]."""

    kernel: Float[np.ndarray, "d classes"]
    offsets: Float[np.ndarray, " classes"]

    def logits(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n classes"]:
        """float32 [n, classes]."""
        return (features @ self.kernel + self.offsets).astype(np.float32)


def rates(protocol: Protocol, batch: int, steps: int) -> Float[np.ndarray, "epochs steps"]:
    """The learning rate of each step, for batches of this size, so many an epoch."""
    peak, epochs = protocol.rate * batch / 256, protocol.epochs
    if protocol.by_epoch:
        return np.repeat([[peak * protocol.shape(epoch, epochs)] for epoch in range(epochs)], steps, axis=1)
    return np.array([peak * protocol.shape(t, epochs * steps) for t in range(epochs * steps)]).reshape(epochs, steps)


def started(
    protocol: Protocol, d: int, classes: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "d classes"], Float[np.ndarray, " classes"]]:
    """(kernel, offsets) at the beginning, float32."""
    kernel, offsets = np.zeros((d, classes)), np.zeros(classes)
    if protocol.start == "normal":
        kernel = rng.normal(0, 0.01, kernel.shape)
    elif protocol.start == "uniform":
        bound = d**-0.5
        kernel, offsets = (rng.uniform(-bound, bound, x.shape) for x in (kernel, offsets))
    return kernel.astype(np.float32), offsets.astype(np.float32)


def record(protocol: Protocol, n: int) -> dict[str, Any]:
    """What probe.json tells of a protocol that trains on n pictures."""
    batch = min(protocol.batch, n)
    return {
        "rate": protocol.rate * batch / 256,
        "batch": batch,
        "epochs": protocol.epochs,
        "source": protocol.source,
        "augmented": False,
        "note": f"the papers augment (random crops, flips), these features are of pictures as they are: {TRAINED}",
    }


def fit(
    protocol: Protocol,
    train: Split,
    *,
    classes: int,
    seed: int = 0,
    watched: Split | None = None,
    note: Note = print,
) -> tuple[Softmax, list[float]]:
    """(the classifier after the last epoch, accuracy on `watched` after each epoch; empty without it).

    Args:
      train: what it learns from.
      classes: how many there are.
      seed: of the start and of the orders.
      watched: a split that is looked at after each epoch, and changes nothing.
      note: where a line goes at times.
    """
    import jax
    import jax.numpy as jnp

    features, labels = jnp.asarray(train[0], jnp.float32), jnp.asarray(train[1], jnp.int32)
    rng, batch = np.random.default_rng(seed), min(protocol.batch, len(labels))
    steps = len(labels) // batch
    state: Any = jax.tree.map(jnp.asarray, started(protocol, features.shape[1], classes, rng))
    state = (state, jax.tree.map(jnp.zeros_like, state))
    schedule = rates(protocol, batch, steps).astype(np.float32)
    epoch_of = jax.jit(lambda state, x, y, rows, rate: epoch(protocol, state, x, y, rows, rate))
    seen: list[float] = []
    for i in range(protocol.epochs):
        rows = rng.permutation(len(labels))[: steps * batch].reshape(steps, batch).astype(np.int32)
        state = epoch_of(state, features, labels, rows, schedule[i])
        if watched is not None:
            guess = Softmax(*map(np.asarray, state[0])).logits(watched[0]).argmax(axis=1)
            seen.append(float(np.mean(guess == watched[1])))
        if (i + 1) % 30 == 0:
            note(f"epoch {i + 1} of {protocol.epochs}" + (f": accuracy {seen[-1]:.2%}" if seen else ""))
    return Softmax(*map(np.asarray, state[0])), seen


def epoch(
    protocol: Protocol,
    state: Any,
    features: Float[Any, "n d"],
    labels: Int[Any, " n"],
    rows: Int[Any, "steps batch"],
    rate: Float[Any, " steps"],
) -> Any:
    """((kernel, offsets), their velocities) after an epoch of PyTorch's SGD on the mean cross entropy; traceable."""
    import jax
    import jax.numpy as jnp

    features, labels = jnp.asarray(features), jnp.asarray(labels)

    def loss(weights, x, y):
        logits = jnp.matmul(x, weights[0], precision="highest") + weights[1]
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1))

    def step(state, now):
        (weights, velocity), (row, rate) = state, now
        gradient = jax.grad(loss)(weights, features[row], labels[row])
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradient)
        moved = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradient) if protocol.nesterov else velocity
        return (jax.tree.map(lambda w, m: w - rate * m, weights, moved), velocity), None

    return jax.lax.scan(step, state, (rows, rate))[0]
