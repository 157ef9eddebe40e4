"""Nearest neighbours of feature vectors by cosine, with votes weighted by similarity."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxcls.errors import UserError

QUERIES, KNOWN = 512, 32768  # rows of a block
LEAST = 1e-6  # share of a class that none of the neighbours has; the logarithm needs one


class Neighbours:
    """A weighted k-nearest-neighbour classifier: Wu et al., Unsupervised Feature Learning via Non-Parametric Instance
    Discrimination, section 3.4. Each of the k most similar training examples votes for its class with
    exp(cosine / temperature).

    Args:
      features, labels: of the training examples; finite.
      classes: how many there are.
      k: neighbours that vote; all where there are fewer.
      temperature: 0.07 in the paper; 0: each vote counts the same.

    Raises:
      UserError: for k below 1 or a negative temperature.
    """

    def __init__(
        self,
        features: Float[np.ndarray, "n d"],
        labels: Int[np.ndarray, " n"],
        *,
        classes: int,
        k: int = 20,
        temperature: float = 0.07,
    ):
        if k < 1 or temperature < 0:
            raise UserError(f"k must be at least 1 and the temperature not negative, not {k} and {temperature}.")
        self.features, self.labels = _unit(features), np.asarray(labels, np.int32)
        self.classes, self.k, self.temperature = classes, min(k, len(self.labels)), temperature

    def logits(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n classes"]:
        """Logarithms of the shares of the votes, float32. Of equal shares the lower class comes first."""
        similarity, label = self.nearest(features)
        weight = np.exp((similarity - 1) / self.temperature) if self.temperature else np.ones_like(similarity)
        votes = np.zeros((len(label), self.classes), np.float64)
        np.add.at(votes, (np.arange(len(label))[:, None], label), weight)
        return np.log(np.maximum(votes / votes.sum(axis=1, keepdims=True), LEAST)).astype(np.float32)

    def nearest(self, features: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, "n k"], Int[np.ndarray, "n k"]]:
        """(cosines, labels) of the k most similar training examples, the most similar first."""
        features = _unit(features)
        n = len(features)
        similarity = np.full((n, self.k), -np.inf, np.float32)
        label = np.zeros((n, self.k), np.int32)
        for known in range(0, len(self.labels), KNOWN):
            block = jnp.asarray(self.features[known : known + KNOWN])
            labels = jnp.asarray(self.labels[known : known + KNOWN])
            for i in range(0, n, QUERIES):
                rows = slice(i, i + QUERIES)
                queries = [_padded(x[rows], QUERIES) for x in (features, similarity, label)]
                best = jax.device_get(_merge(*queries, block, labels))
                similarity[rows], label[rows] = (x[: len(label[rows])] for x in best)
        return similarity, label


@jax.jit
def _merge(queries, similarity, label, features, labels):
    """The k most similar of those known so far and a further block."""
    cosine = jnp.matmul(queries, features.T, precision="highest")
    all_labels = jnp.concatenate([label, jnp.broadcast_to(labels, cosine.shape)], axis=1)
    best, place = jax.lax.top_k(jnp.concatenate([similarity, cosine], axis=1), similarity.shape[1])
    return best, jnp.take_along_axis(all_labels, place, axis=1)


def _unit(features):
    """Rows of length 1; a row of zeros stays."""
    features = np.asarray(features, np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _padded(x, rows):
    return np.pad(x, ((0, rows - len(x)), (0, 0)))
