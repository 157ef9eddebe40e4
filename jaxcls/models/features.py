"""Features of a pretrained network: the means over the picture of its stages."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxcls.errors import UserError
from jaxcls.models import create, pretrained, weight_files


def stage_means(
    name: str, weights: str, size: int, mean: tuple[float, ...], std: tuple[float, ...], most: int
) -> Callable[[np.ndarray], np.ndarray]:
    """A function uint8 [b, size, size, 3] -> float32 [b, d], b at most `most`, of a pretrained network.

    The features are the means over the picture of every stage but the last, and `pre_logits`: for other kinds of
    pictures than it was trained on, the early stages add much.

    Raises:
      UserError: unknown model, unusable weights, pictures too small for the network.
    """
    model = create(name, num_classes=0)
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    abstract = jax.eval_shape(model.init, jax.eval_shape(lambda: jax.random.key(0)), image)
    loaded, report = pretrained.match(model, abstract, weight_files.read(weights))
    if report.kept:
        raise UserError(f"{weights} lacks {', '.join(sorted(report.kept)[:3])}; features need all layers but the last")
    offset, scale = np.array(mean, np.float32), np.array(std, np.float32)

    @jax.jit
    def embed(variables, batch):
        _, out = model.apply(variables, (batch.astype(jnp.float32) / 255 - offset) / scale, train=False)
        stages = sorted(key for key in out if key.startswith("stage"))
        kept = [out[key] for key in (*stages[:-1], "pre_logits")]
        return jnp.concatenate([x.reshape(len(x), -1, x.shape[-1]).mean(1) for x in kept], axis=-1)

    def features_of(batch: np.ndarray) -> np.ndarray:
        padded = np.zeros((most, *batch.shape[1:]), np.uint8)  # one shape, one compilation
        padded[: len(batch)] = batch
        return np.asarray(embed(loaded, padded))[: len(batch)]

    return features_of
